//! What the networks of a package will be on the server.

use std::fmt;

use ovftransfer_vim::dvs::Binding;
use ovftransfer_vim::value::MoRef;

/// A network of a package, and what it will be on the server.  `Display` tells a person.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct PlannedNetwork {
    /// Its name in the descriptor.
    pub ovf: String,
    /// Whether the request maps it; if not, the server chooses.
    pub is_mapped: bool,
    /// Cards of the package that are on it, in the configuration that is imported.
    pub cards: usize,
    /// What it will be; `None` where the server chooses and does not say what.
    pub network: Option<ServerNetwork>,
}

/// A network of the server.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ServerNetwork {
    /// The network.
    pub moref: MoRef,
    /// Its name.
    pub name: String,
    /// What it is.
    pub kind: NetworkKind,
}

/// What a network of the server is.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum NetworkKind {
    /// A portgroup of a distributed switch (`DistributedVirtualPortgroup`, since 4.0).
    Distributed(PortgroupRoom),
    /// A network of NSX (`OpaqueNetwork`, since 5.5).
    Opaque,
    /// A portgroup of the hosts' standard switches (`Network`, since 2.0).
    Standard,
}

/// A portgroup of a distributed switch, and how many cards it can still take.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct PortgroupRoom {
    /// Name of its switch; `None` if the session may not see it.
    pub switch: Option<String>,
    /// How machines get a port; `None` if the session may not see it.
    pub binding: Option<Binding>,
    /// Whether it grows when its ports run out (since 5.0).
    pub auto_expand: Option<bool>,
    /// Ports that nobody is connected to, counted where the number is a limit: with early binding,
    /// and if the portgroup does not grow.
    pub free_ports: Option<usize>,
}

impl NetworkKind {
    /// The word for it in JSON.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Distributed(_) => "distributed",
            Self::Opaque => "opaque",
            Self::Standard => "standard",
        }
    }

    /// The portgroup, if it is one of a distributed switch.
    #[must_use]
    pub const fn portgroup(&self) -> Option<&PortgroupRoom> {
        match self {
            Self::Distributed(room) => Some(room),
            Self::Opaque | Self::Standard => None,
        }
    }
}

impl fmt::Display for PlannedNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cards = match self.cards {
            0 => "no card".to_owned(),
            1 => "1 card".to_owned(),
            cards => format!("{cards} cards"),
        };
        write!(f, "network {} ({cards}): ", self.ovf)?;
        match &self.network {
            Some(network) => write!(f, "{network}")?,
            None => return f.write_str("the server chooses"),
        }
        if self.is_mapped { Ok(()) } else { f.write_str("; the server chooses it") }
    }
}

impl fmt::Display for ServerNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { moref, name, kind } = self;
        match kind {
            NetworkKind::Distributed(room) => {
                let switch = room.switch.as_ref().map(|switch| format!("{switch}/"));
                write!(f, "{}{name} ({moref})", switch.unwrap_or_default())?;
                if let Some(binding) = &room.binding {
                    write!(f, ", {}", binding_for_people(binding))?;
                }
                match (room.free_ports, room.auto_expand) {
                    (Some(1), _) => f.write_str(", 1 port free"),
                    (Some(free), _) => write!(f, ", {free} ports free"),
                    (None, Some(true)) => f.write_str(", grows when it is full"),
                    (None, _) => Ok(()),
                }
            }
            NetworkKind::Opaque => write!(f, "{name} ({moref}), of NSX"),
            NetworkKind::Standard => write!(f, "{name} ({moref}), of the hosts' own switches"),
        }
    }
}

fn binding_for_people(binding: &Binding) -> String {
    match binding {
        Binding::Early => "early binding".to_owned(),
        Binding::Ephemeral => "ephemeral ports".to_owned(),
        Binding::Late => "late binding".to_owned(),
        Binding::Unknown(word) => format!("binding {word:?}"),
        _ => "binding unknown".to_owned(),
    }
}
