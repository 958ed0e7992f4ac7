//! D-Bus: receiving dnsmasq's signals from the system bus. What they mean is decided in `lease`.

use crate::name::NetworkName;
use std::net::IpAddr;
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;
use zbus::blocking::connection::Builder;
use zbus::blocking::{Connection, MessageIterator};
use zbus::{MatchRule, message};

/// The object whose signals count; dnsmasq keeps this path whatever its bus name.
const PATH: &str = "/uk/org/thekelleys/dnsmasq";

/// The system bus is not there, or refuses us.
#[derive(Debug, thiserror::Error)]
#[error("cannot reach the D-Bus system bus: {0}")]
pub struct BusError(#[from] zbus::Error);

/// The process that has the bus name of the network's dnsmasq, if any has.
pub fn dnsmasq_pid(network: &NetworkName) -> Result<Option<u32>, BusError> {
    let connection = Connection::system()?;
    let proxy = zbus::blocking::fdo::DBusProxy::new(&connection)?;
    let name = network.dnsmasq_bus_name();
    match proxy.get_connection_unix_process_id(name.as_str().try_into().map_err(zbus::Error::from)?) {
        Ok(pid) => Ok(Some(pid)),
        Err(zbus::fdo::Error::NameHasNoOwner(_)) => Ok(None),
        Err(error) => Err(zbus::Error::from(error).into()),
    }
}

/// Makes the system bus read its policies anew; only root may ask for that.
pub fn reload_policies() -> Result<(), BusError> {
    let proxy = zbus::blocking::fdo::DBusProxy::new(&Connection::system()?)?;
    proxy.reload_config().map_err(zbus::Error::from)?;
    Ok(())
}

/// How long dnsmasq has to answer on the bus; reading very many hosts takes it a while.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between two looks at whether it answers.
const PAUSE: Duration = Duration::from_millis(10);

/// Asks the network's dnsmasq for its version, to see that it answers, and waits for that. It has its name on the bus
/// before it has looked at all it needs, and may still end; when it answers, it serves.
pub fn ping_dnsmasq(network: &NetworkName) -> Result<(), BusError> {
    let connection = Builder::system()?.method_timeout(PATIENCE).build()?;
    let name = network.dnsmasq_bus_name();
    // The methods' interface is called as the bus name, like everything of such a dnsmasq.
    connection.call_method(Some(name.as_str()), PATH, Some(name.as_str()), "GetVersion", &())?;
    Ok(())
}

/// True if the process `pid` answers as the network's dnsmasq.
pub fn answers(network: &NetworkName, pid: u32) -> bool {
    dnsmasq_pid(network).is_ok_and(|owner| owner == Some(pid)) && ping_dnsmasq(network).is_ok()
}

/// Waits until the process `pid` answers as the network's dnsmasq; false if it has ended before.
pub fn await_dnsmasq(network: &NetworkName, pid: u32) -> bool {
    let process = Path::new("/proc").join(pid.to_string());
    while process.exists() {
        if answers(network, pid) {
            return true;
        }
        std::thread::sleep(PAUSE);
    }
    false
}

/// Makes the network's dnsmasq forget the lease of `address`; false if it has none.
pub fn delete_lease(network: &NetworkName, address: IpAddr) -> Result<bool, BusError> {
    let connection = Connection::system()?;
    let name = network.dnsmasq_bus_name();
    let address = address.to_string();
    let reply = connection.call_method(
        Some(name.as_str()),
        PATH,
        Some(name.as_str()),
        "DeleteDhcpLease",
        &address.as_str(),
    )?;
    Ok(reply.body().deserialize::<bool>()?)
}

/// What arrives while lease signals are watched.
#[derive(Debug)]
pub enum Arrival {
    /// A signal of this network's dnsmasq: its name, and its arguments (address, hardware address, host name), which
    /// are a stranger's text.
    Signal(NetworkName, String, [String; 3]),
    /// The connection to the bus has ended; nothing more will come.
    Lost(String),
}

/// Subscribes to the lease signals of the networks' dnsmasq processes. When this returns, the bus has accepted the
/// subscriptions: no later signal is missed. Restarts of dnsmasq do not end a subscription.
pub fn watch_leases(networks: &[NetworkName]) -> Result<Receiver<Arrival>, BusError> {
    let connection = Connection::system()?;
    let (sender, receiver) = channel();
    for network in networks {
        let bus_name = network.dnsmasq_bus_name();
        // The bus matches the sender by who owns that name when the signal is sent.
        let rule = MatchRule::builder()
            .msg_type(message::Type::Signal)
            .path(PATH)?
            .sender(bus_name.clone())?
            .interface(bus_name)?
            .build();
        let messages = MessageIterator::for_match_rule(rule, &connection, Some(1024))?;
        let (network, sender) = (network.clone(), sender.clone());
        std::thread::spawn(move || forward(messages, &network, &sender));
    }
    Ok(receiver)
}

/// Passes signals on until the bus or the receiver is gone.
fn forward(messages: MessageIterator, network: &NetworkName, sender: &Sender<Arrival>) {
    for message in messages {
        let arrival = match message {
            Err(e) => Arrival::Lost(e.to_string()),
            Ok(message) => {
                let member = message
                    .header()
                    .member()
                    .map(ToString::to_string)
                    .unwrap_or_default();
                let Ok(arguments) = message.body().deserialize::<(String, String, String)>() else {
                    continue;
                };
                Arrival::Signal(network.clone(), member, arguments.into())
            }
        };
        let lost = matches!(arrival, Arrival::Lost(_));
        if sender.send(arrival).is_err() || lost {
            return;
        }
    }
    // A closed connection ends the stream without a word.
    let _ = sender.send(Arrival::Lost("the bus closed the connection".to_owned()));
}
