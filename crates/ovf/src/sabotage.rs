//! A defect that can be switched on, to show that the test suite finds it.
//!
//! Only with the feature `sabotage`, and only if the environment variable `OVFTRANSFER_SABOTAGE` names
//! it; without the feature the question is answered with a constant no, and nothing is left of it.
//! `.ci/campaign sabotage` runs the suite against it, and against those of the transfer engine.

/// What is done wrong.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Defect {
    /// The size in a member's own header counts, whatever the PAX header before it says.
    TrustTheUstarSize,
}

/// Whether this is done wrong.
#[cfg(feature = "sabotage")]
pub(crate) fn on(defect: Defect) -> bool {
    *active::DEFECT == Some(defect)
}

/// Nothing is done wrong on purpose.
#[cfg(not(feature = "sabotage"))]
pub(crate) const fn on(_defect: Defect) -> bool {
    false
}

#[cfg(feature = "sabotage")]
mod active {
    use std::sync::LazyLock;

    use super::Defect;

    /// What the environment names.
    pub(super) static DEFECT: LazyLock<Option<Defect>> = LazyLock::new(|| {
        let name = std::env::var("OVFTRANSFER_SABOTAGE").ok()?;
        ALL.into_iter().find(|defect| format!("{defect:?}") == name)
    });

    pub(super) const ALL: [Defect; 1] = [Defect::TrustTheUstarSize];

    /// For `.ci/campaign sabotage`: the names, each on a line of its own.
    #[cfg(test)]
    #[test]
    fn names() {
        for defect in ALL {
            println!("defect {defect:?}");
        }
    }
}
