//! `spec`: what can be chosen when a package is imported.

use ovftransfer::ImportSpecOptions;
use ovftransfer::Overview;
use ovftransfer::SpecScope;

use crate::args::SpecArgs;
use crate::console::Console;
use crate::exit::Code;
use crate::exit::Failure;
use crate::package::Origin;
use crate::signals::Interrupts;

pub(crate) async fn run(
    args: SpecArgs,
    console: &Console,
    interrupts: &mut Interrupts,
) -> Result<(), Failure> {
    let origin = Origin::of(&args.package, &args.source)?;
    let overview = interrupts.race(origin.look()).await?;
    warn_of_collections(&overview, args.nested, console);
    let mut scope = SpecScope::default();
    scope.hidden = args.hidden;
    scope.nested = args.nested;
    scope.verbose = console.verbose;
    let options = ImportSpecOptions::within(overview.envelope(), scope);
    if console.json {
        let line = serde_json::to_string(&options);
        console.data(line.map_err(|error| Failure::new(Code::Unexpected, error.to_string()))?);
    } else {
        console.data(options.to_json());
    }
    Ok(())
}

/// What is left out is said.
fn warn_of_collections(overview: &Overview, nested: bool, console: &Console) {
    let collections = overview.envelope().collections();
    let has_properties = overview.envelope().products().any(|one| !one.properties.is_empty());
    if !nested && !collections.is_empty() && has_properties {
        console.note(format_args!(
            "warning: {}: the properties of a vApp are left out, as govc does; --nested lists them",
            overview.location()
        ));
    }
}
