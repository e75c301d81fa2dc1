//! Network cards of machines, and what they are plugged into.

use std::borrow::Cow;
use std::fmt;

use super::port::cookie_of;
use crate::connection::Call;
use crate::error::VimError;
use crate::inventory::PowerState;
use crate::locator::unescape;
use crate::session::Session;
use crate::value::{Data, Field, MoRef, Object, Value};

/// A network card of a machine (`VirtualEthernetCard`, since 2.5).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct NetworkCard {
    /// Key of the device in the machine's hardware; [`PortConnectee::nic_key`] is the same as
    /// text.
    ///
    /// [`PortConnectee::nic_key`]: super::PortConnectee::nic_key
    pub key: i64,
    /// What people call it: `Network adapter 1`.
    pub label: String,
    /// Its model: `VirtualVmxnet3`.
    pub model: String,
    /// Its MAC address.
    pub mac_address: Option<String>,
    /// Whether it is connected at present.
    pub connected: Option<bool>,
    /// Whether it is connected when the machine starts.
    pub start_connected: Option<bool>,
    /// What it is plugged into.
    pub backing: CardBacking,
    device: Device,
}

/// The network cards of a machine, with what must be known of the machine to judge them.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct MachineCards {
    /// The machine.
    pub vm: MoRef,
    /// Its name.
    pub name: String,
    /// The host that it is on; `None` if the caller may not see it.
    pub host: Option<MoRef>,
    /// Whether it runs; `None` if the caller may not see it.
    pub power_state: Option<PowerState>,
    /// Its cards, in the order of its hardware; `None` if the caller may not see them.
    pub cards: Option<Vec<NetworkCard>>,
}

/// A device as the server sent it, with everything that this crate does not know.
#[derive(Clone)]
struct Device(Value);

impl fmt::Debug for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("..")
    }
}

/// What a network card is plugged into.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CardBacking {
    /// A port of a distributed switch.
    Distributed(PortConnection),
    /// A network of NSX, by its id.
    Opaque {
        /// Id of the network.
        network_id: String,
    },
    /// A portgroup of a standard switch.
    Standard {
        /// Name of the portgroup.
        name: String,
        /// The network, if the caller may see it.
        network: Option<MoRef>,
    },
    /// A kind that this crate does not know, by the name of its type.
    Unknown(String),
}

/// A port of a distributed switch (`DistributedVirtualSwitchPortConnection`, since 4.0).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PortConnection {
    /// UUID of the switch; to be compared as it stands.
    pub switch_uuid: String,
    /// Key of the portgroup; `None` for a port outside of all.
    pub portgroup_key: Option<String>,
    /// Key of the port; `None` while the server has not chosen one.
    pub port_key: Option<String>,
    /// Proves that the card is the rightful one.  Only read: servers make it.
    pub connection_cookie: Option<i32>,
}

impl PortConnection {
    /// A port of this portgroup, which the server chooses.
    #[must_use]
    pub fn to_portgroup(switch_uuid: impl Into<String>, portgroup_key: impl Into<String>) -> Self {
        Self {
            switch_uuid: switch_uuid.into(),
            portgroup_key: Some(portgroup_key.into()),
            port_key: None,
            connection_cookie: None,
        }
    }

    /// This port, instead of one that the server chooses.
    #[must_use]
    pub fn on_port(mut self, port_key: impl Into<String>) -> Self {
        self.port_key = Some(port_key.into());
        self
    }

    fn from_value(value: &Value) -> Option<Self> {
        Some(Self {
            switch_uuid: value.filled_text_of("switchUuid")?,
            portgroup_key: value.filled_text_of("portgroupKey"),
            port_key: value.filled_text_of("portKey"),
            connection_cookie: cookie_of(value),
        })
    }
}

impl From<&PortConnection> for Object {
    /// Without the cookie: servers make it, and pass over that of a client.
    fn from(port: &PortConnection) -> Self {
        Self::new("DistributedVirtualSwitchPortConnection")
            .with("switchUuid", port.switch_uuid.as_str())
            .with_some("portgroupKey", port.portgroup_key.as_deref())
            .with_some("portKey", port.port_key.as_deref())
    }
}

impl CardBacking {
    fn from_value(value: &Value) -> Self {
        if let Some(port) = value.field("port").and_then(PortConnection::from_value) {
            return Self::Distributed(port);
        }
        if let Some(network_id) = value.filled_text_of("opaqueNetworkId") {
            return Self::Opaque { network_id };
        }
        match value.filled_text_of("deviceName") {
            Some(name) => Self::Standard { name, network: value.moref_of("network") },
            None => Self::Unknown(value.type_name().unwrap_or_default().to_owned()),
        }
    }
}

impl NetworkCard {
    /// Reads a device; `None` if it is not a network card.
    pub(super) fn from_value(value: &Value) -> Option<Self> {
        let model = value.type_name().unwrap_or_default();
        // Models that are newer than this crate have the fields of all models.
        let is_card = MODELS.contains(&model)
            || value.field("macAddress").is_some()
            || value.field("addressType").is_some();
        if !is_card {
            return None;
        }
        let key = value.int_of("key")?;
        let label = value.at(&["deviceInfo", "label"]).and_then(Value::text);
        let connectable = value.field("connectable");
        let unplugged = || CardBacking::Unknown(String::new());
        Some(Self {
            key,
            label: label.map_or_else(|| format!("card {key}"), Cow::into_owned),
            model: model.to_owned(),
            mac_address: value.filled_text_of("macAddress"),
            connected: connectable.and_then(|c| c.boolean_of("connected")),
            start_connected: connectable.and_then(|c| c.boolean_of("startConnected")),
            backing: value.field("backing").map_or_else(unplugged, CardBacking::from_value),
            device: Device(value.clone()),
        })
    }

    /// The device on another port, and otherwise as it came.
    fn on_port(&self, port: &PortConnection) -> Value {
        let mut device = self.device.0.clone();
        let Data::Object(fields) = &mut device.data else { return device };
        let port = Value::from(Object::from(port));
        let is_plugged = |field: &Field| {
            field.name == "backing" && field.value.type_name() == Some(DISTRIBUTED_BACKING)
        };
        if let Some(backing) = fields.iter_mut().find(|field| is_plugged(field)) {
            put(&mut backing.value, "port", port);
            return device;
        }
        let backing = Object::new(DISTRIBUTED_BACKING).with("port", port).into();
        let backing = Field { name: Cow::Borrowed("backing"), value: backing };
        match fields.iter().position(|field| field.name == "backing") {
            Some(at) => fields.splice(at..=at, [backing]).for_each(drop),
            None => {
                let before = |field: &Field| BEFORE_BACKING.contains(&field.name.as_ref());
                let at = fields.iter().rposition(before).map_or(0, |at| at + 1);
                fields.insert(at, backing);
            }
        }
        device
    }
}

/// Sets the field `name` of an object where it stands.
fn put(object: &mut Value, name: &'static str, value: Value) {
    let Data::Object(fields) = &mut object.data else { return };
    match fields.iter_mut().find(|field| field.name == name) {
        Some(field) => field.value = value,
        None => fields.push(Field { name: Cow::Borrowed(name), value }),
    }
}

/// Network cards.
impl Session {
    /// Reads the network cards of a machine, in the order of its hardware.
    ///
    /// API: `VirtualMachine.config.hardware.device`, since 2.0.
    ///
    /// # Errors
    ///
    /// The fault `ManagedObjectNotFound`, among others.
    pub async fn network_cards(&self, vm: &MoRef) -> Result<Vec<NetworkCard>, VimError> {
        let read = self.read(vm, &[DEVICES]).await?;
        let devices = read.value(DEVICES).into_iter().flat_map(Value::items);
        Ok(devices.filter_map(NetworkCard::from_value).collect())
    }

    /// Reads the network cards of a machine, and where and whether it runs.
    ///
    /// API: `VirtualMachine.config.hardware.device` and `VirtualMachine.runtime`, since 2.0.
    ///
    /// # Errors
    ///
    /// The fault `ManagedObjectNotFound`, among others.
    pub async fn machine_cards(&self, vm: &MoRef) -> Result<MachineCards, VimError> {
        const HOST: &str = "runtime.host";
        const POWER: &str = "runtime.powerState";
        let read = self.read(vm, &["name", HOST, POWER, DEVICES]).await?;
        let devices = read.value(DEVICES);
        Ok(MachineCards {
            vm: vm.clone(),
            name: unescape(&read.text("name").unwrap_or_default()),
            host: read.moref(HOST),
            power_state: read.text(POWER).map(|state| PowerState::of(&state)),
            cards: devices.map(|all| all.items().filter_map(NetworkCard::from_value).collect()),
        })
    }

    /// Plugs a card of a machine into a distributed port, by a task.  Everything else of the card
    /// goes back as it came.  Privilege `Network.Assign`, and `VirtualMachine.Config.EditDevice`.
    ///
    /// API: `ReconfigVM_Task`, since 2.0; distributed ports since 4.0.
    ///
    /// # Errors
    ///
    /// The faults `InvalidState`, `TaskInProgress`, `InvalidDeviceSpec`; others end the task.
    pub async fn connect_card(
        &self,
        vm: &MoRef,
        card: &NetworkCard,
        port: &PortConnection,
    ) -> Result<MoRef, VimError> {
        let change = Object::new("VirtualDeviceConfigSpec")
            .with("operation", "edit")
            .with("device", card.on_port(port));
        let spec = Object::new("VirtualMachineConfigSpec").with_each("deviceChange", [change]);
        let call = Call::new(vm, "ReconfigVM_Task").with("spec", spec);
        self.connection().call_moref(call).await
    }
}

const DEVICES: &str = "config.hardware.device";
const DISTRIBUTED_BACKING: &str = "VirtualEthernetCardDistributedVirtualPortBackingInfo";
/// What comes before `backing` in a `VirtualDevice`.
const BEFORE_BACKING: [&str; 4] = ["dynamicType", "dynamicProperty", "key", "deviceInfo"];
/// The models of network cards.
const MODELS: [&str; 8] = [
    "VirtualE1000",
    "VirtualE1000e",
    "VirtualPCNet32",
    "VirtualSriovEthernetCard",
    "VirtualVmxnet",
    "VirtualVmxnet2",
    "VirtualVmxnet3",
    "VirtualVmxnet3Vrdma",
];
