//! The module's handle on the server.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use abi_stable::StableAbi;
use abi_stable::std_types::{RBox, RStr};
use serde_json::Value;
use uuid::Uuid;

use super::runtime::Loops;
use super::{
    Call, CallContext, Capacity, Database, FeatureState, Hosts, Identity, ModuleError, Sets,
    Signals,
};
use crate::abi::{
    CallApi_TO, CapacityApi_TO, ClockApi_TO, DbApi_TO, FeaturesApi_TO, HostsApi_TO, IdentityApi_TO,
    LogApi_TO, ServerApi_TO, SetsApi_TO, SignalsApi_TO, interface_name,
};
use crate::wire::Environment;

/// Everything a module can ask of the server. Cheap to clone.
#[derive(Clone)]
pub struct Server {
    interfaces: Arc<Interfaces>,
}

/// What a module asks through, each fetched once.
struct Interfaces {
    module: String,
    environment: Environment,
    clock: ClockApi_TO<RBox<()>>,
    db: Database,
    hosts: Hosts,
    sets: Sets,
    signals: Signals,
    call: Call,
    features: Features,
    identity: Identity,
    capacity: Result<Capacity, ModuleError>,
    loops: Loops,
}

/// The interfaces behind a [`Server`]: from the server across the boundary, or fakes in a test.
pub struct Services {
    /// The module API and switches of the configuration.
    pub environment: Environment,
    /// `fleet.log/1`; shared, because the log outlives the module.
    pub log: Arc<LogApi_TO<RBox<()>>>,
    /// `fleet.clock/2`.
    pub clock: ClockApi_TO<RBox<()>>,
    /// `fleet.db/1`.
    pub db: DbApi_TO<RBox<()>>,
    /// `fleet.sets/1`.
    pub sets: SetsApi_TO<RBox<()>>,
    /// `fleet.hosts/1`.
    pub hosts: HostsApi_TO<RBox<()>>,
    /// `fleet.signals/1`.
    pub signals: SignalsApi_TO<RBox<()>>,
    /// `fleet.call/1`.
    pub call: CallApi_TO<RBox<()>>,
    /// `fleet.features/1`.
    pub features: FeaturesApi_TO<RBox<()>>,
    /// `fleet.identity/1`.
    pub identity: IdentityApi_TO<RBox<()>>,
    /// `fleet.capacity/1`; an older server does not have it, which is the trouble of a module that asks for it only.
    pub capacity: Result<CapacityApi_TO<RBox<()>>, ModuleError>,
}

impl Services {
    /// Fetches every interface by name and checks its layout.
    pub fn connect(server: &ServerApi_TO<RBox<()>>) -> Result<Self, ModuleError> {
        let environment = serde_json::from_slice(&server.environment()).map_err(|error| {
            ModuleError::new(format!("the server's environment is not readable: {error}"))
        })?;
        Ok(Self {
            environment,
            log: Arc::new(fetch(server, interface_name::LOG)?),
            clock: fetch(server, interface_name::CLOCK)?,
            db: fetch(server, interface_name::DB)?,
            sets: fetch(server, interface_name::SETS)?,
            hosts: fetch(server, interface_name::HOSTS)?,
            signals: fetch(server, interface_name::SIGNALS)?,
            call: fetch(server, interface_name::CALL)?,
            features: fetch(server, interface_name::FEATURES)?,
            identity: fetch(server, interface_name::IDENTITY)?,
            capacity: fetch(server, interface_name::CAPACITY),
        })
    }
}

impl Server {
    /// The handle of the module of that name.
    pub fn new(module: &str, services: Services) -> Self {
        let interfaces = Interfaces {
            module: module.to_owned(),
            environment: services.environment,
            clock: services.clock,
            db: Database::new(services.db),
            hosts: Hosts::new(services.hosts),
            sets: Sets::new(services.sets),
            signals: Signals::new(services.signals),
            call: Call::new(services.call),
            features: Features {
                api: Arc::new(services.features),
            },
            identity: Identity::new(services.identity),
            capacity: services.capacity.map(Capacity::new),
            loops: Loops::default(),
        };
        Self {
            interfaces: Arc::new(interfaces),
        }
    }

    /// The wall clock, for dates that people see and give: microseconds since the Unix epoch. It may step.
    pub fn now_us(&self) -> i64 {
        self.interfaces.clock.now_us()
    }

    /// The lease clock, for what is stored and waited for: microseconds, going on evenly whatever becomes of the wall clock.
    pub fn lease_us(&self) -> i64 {
        self.interfaces.clock.lease_us()
    }

    /// The earlier of both, for what must not happen too early by either, such as deleting what has been kept long enough.
    pub fn earlier_us(&self) -> i64 {
        self.now_us().min(self.lease_us())
    }

    /// A new UUIDv7, by the lease clock as the core's: it sorts by when it was made, whatever becomes of the wall clock.
    pub fn new_id(&self) -> Uuid {
        let milliseconds = u64::try_from(self.lease_us() / 1_000).unwrap_or_default();
        // The 74 bits beside the time come from a random UUID's 122.
        let random = Uuid::new_v4().into_bytes();
        let mut tail = [0_u8; 10];
        for (to, from) in tail
            .iter_mut()
            .zip(random.iter().take(6).chain(random.iter().skip(10)))
        {
            *to = *from;
        }
        uuid::Builder::from_unix_timestamp_millis(milliseconds, &tail).into_uuid()
    }

    /// The module's own tables.
    pub fn db(&self) -> &Database {
        &self.interfaces.db
    }

    /// The inventory, as a feed of changes.
    pub fn hosts(&self) -> &Hosts {
        &self.interfaces.hosts
    }

    /// Command sets, which the core owns.
    pub fn sets(&self) -> &Sets {
        &self.interfaces.sets
    }

    /// Wake-ups by key.
    pub fn signals(&self) -> &Signals {
        &self.interfaces.signals
    }

    /// Other modules, and the server's routes.
    pub fn call(&self) -> &Call {
        &self.interfaces.call
    }

    /// What the licence grants now.
    pub fn features(&self) -> &Features {
        &self.interfaces.features
    }

    /// The rights of people who are not there.
    pub fn identity(&self) -> &Identity {
        &self.interfaces.identity
    }

    /// What agents say of their machines with every heartbeat. To be fetched in a module's `start`: on a server that is too old
    /// to have it, the module is then refused with the error's one line.
    pub fn capacity(&self) -> Result<Capacity, ModuleError> {
        self.interfaces.capacity.clone()
    }

    /// The identity of the module's own loops: `module:<name>`.
    pub fn own_context(&self) -> CallContext {
        let principal = format!("module:{}", self.interfaces.module);
        CallContext {
            request_id: self.new_id().to_string(),
            principal_name: principal.clone(),
            principal,
            ..CallContext::default()
        }
    }

    /// A setting of the server's configuration: `preemption` and `budgets` are booleans, `placement` is an object; null if there
    /// is none of that name.
    pub fn setting(&self, name: &str) -> &Value {
        self.interfaces
            .environment
            .settings
            .get(name)
            .unwrap_or(&Value::Null)
    }

    /// Runs a loop on the module's runtime until shutdown. One that panics or returns is started again, after a pause
    /// that doubles up to half a minute.
    pub fn spawn<F>(&self, name: &str, make: impl Fn() -> F + Send + Sync + 'static)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.interfaces.loops.spawn(name, make);
    }

    /// Waits on the module's runtime, in real time.
    pub async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }

    /// Ends every loop at its next await.
    pub fn stop_loops(&self) {
        self.interfaces.loops.stop();
    }
}

/// `fleet.features/1`: which features may start new work now. For loops that launch by themselves; the routes of a
/// module are checked before they are called.
#[derive(Clone)]
pub struct Features {
    api: Arc<FeaturesApi_TO<RBox<()>>>,
}

impl Features {
    /// Never fails: what the server does not answer readably is `not_licensed`.
    pub fn state(&self, feature: &str) -> FeatureState {
        let json = self.api.state(RStr::from_str(feature));
        serde_json::from_slice(&json).unwrap_or_else(|_| FeatureState {
            feature: feature.to_owned(),
            new_work: false,
            reason: Some("not_licensed".to_owned()),
        })
    }

    /// Whether something may be created, retried or launched now.
    pub fn may_start_work(&self, feature: &str) -> bool {
        self.state(feature).new_work
    }
}

fn fetch<T: StableAbi + 'static>(
    server: &ServerApi_TO<RBox<()>>,
    name: &str,
) -> Result<T, ModuleError> {
    let found = server.interface(RStr::from_str(name)).into_option();
    let iface =
        found.ok_or_else(|| ModuleError::new(format!("this server does not offer {name}")))?;
    iface.downcast::<T>().map_err(|mismatch| {
        ModuleError::new(format!("{name} of this server is another: {mismatch}"))
    })
}
