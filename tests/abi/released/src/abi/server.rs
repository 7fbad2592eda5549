//! What a module can ask of the server: one small interface per subject, fetched by name. Everything is asynchronous
//! but the log, the clock and what is a look at memory. Each interface a module gets is bound to that module.

#![expect(non_local_definitions, reason = "how sabi_trait expands")]

use abi_stable::sabi_trait;
use abi_stable::std_types::{ROption, RResult, RStr, RString, RVec};
use async_ffi::FfiFuture;

use super::AnyIface;
use super::data::{
    AbiError, AbiPayload, AbiRequest, AbiResponse, AbiStatement, AbiTable, Ctx, LogRecord, Op,
};

/// Names under which `ServerApi::interface` gives the interfaces.
pub mod interface_name {
    /// [`LogApi`].
    pub const LOG: &str = "fleet.log/1";
    /// [`ClockApi`]. The first had only the wall clock.
    pub const CLOCK: &str = "fleet.clock/2";
    /// [`DbApi`].
    pub const DB: &str = "fleet.db/1";
    /// [`SetsApi`].
    pub const SETS: &str = "fleet.sets/1";
    /// [`HostsApi`].
    pub const HOSTS: &str = "fleet.hosts/1";
    /// [`SignalsApi`].
    pub const SIGNALS: &str = "fleet.signals/1";
    /// [`CallApi`].
    pub const CALL: &str = "fleet.call/1";
    /// [`FeaturesApi`].
    pub const FEATURES: &str = "fleet.features/1";
    /// [`IdentityApi`].
    pub const IDENTITY: &str = "fleet.identity/1";
    /// Everything this version of the server has.
    pub const ALL: [&str; 9] = [
        LOG, CLOCK, DB, SETS, HOSTS, SIGNALS, CALL, FEATURES, IDENTITY,
    ];
}

/// The server, as a module first sees it.
#[sabi_trait]
pub trait ServerApi: Send + Sync + 'static {
    /// The interface of that name; none if this server does not have it.
    fn interface(&self, name: RStr<'_>) -> ROption<AnyIface>;
    /// JSON `{"module_api": version, "settings": {…}}`: switches of the server's configuration a module may know.
    #[sabi(last_prefix_field)]
    fn environment(&self) -> RVec<u8>;
}

/// The server's log.
#[sabi_trait]
pub trait LogApi: Send + Sync + 'static {
    /// The most detailed level the server wants (1 error … 5 trace).
    fn max_level(&self) -> u32;
    /// Writes a record, if its level is wanted.
    #[sabi(last_prefix_field)]
    fn log(&self, record: LogRecord);
}

/// The server's two clocks that mean something outside it.
#[sabi_trait]
pub trait ClockApi: Send + Sync + 'static {
    /// The wall clock, for dates: microseconds since the Unix epoch. It may step.
    fn now_us(&self) -> i64;
    /// The lease clock, for what is stored and waited for: it goes on evenly, also from one life of the server to the next.
    #[sabi(last_prefix_field)]
    fn lease_us(&self) -> i64;
}

/// The module's own tables.
#[sabi_trait]
pub trait DbApi: Send + Sync + 'static {
    /// 1 SQLite, 2 PostgreSQL.
    fn dialect(&self) -> u32;
    /// All statements see one snapshot. Own tables only.
    fn read(&self, statements: RVec<AbiStatement>) -> FfiFuture<RResult<RVec<AbiTable>, AbiError>>;
    /// All or nothing, durable when it answers, detached from its caller.
    #[sabi(last_prefix_field)]
    fn commit(&self, ctx: Ctx, ops: RVec<Op>) -> FfiFuture<RResult<(), AbiError>>;
}

/// Command sets, which the core owns.
#[sabi_trait]
pub trait SetsApi: Send + Sync + 'static {
    /// `ids`: raw set ids. JSON `[SetView]` of those that exist.
    fn get(&self, ids: RVec<u8>) -> FfiFuture<RResult<AbiPayload, AbiError>>;
    /// `query`: JSON `{set_id, status?, cursor, limit}`. JSON `CommandPage`.
    fn commands(&self, query: RVec<u8>) -> FfiFuture<RResult<AbiPayload, AbiError>>;
    /// JSON `CommandView` or null.
    fn command_of_host(
        &self,
        set_id: RVec<u8>,
        host_id: RVec<u8>,
    ) -> FfiFuture<RResult<AbiPayload, AbiError>>;
    /// JSON `CommandOutput` or null.
    fn output(&self, command_id: RVec<u8>) -> FfiFuture<RResult<AbiPayload, AbiError>>;
    /// `create`: JSON `SetCreate`; `hosts`: raw ids. JSON `SetPreview`.
    #[sabi(last_prefix_field)]
    fn preview(
        &self,
        create: RVec<u8>,
        hosts: RVec<u8>,
    ) -> FfiFuture<RResult<AbiPayload, AbiError>>;
}

/// The inventory as a feed of changes.
#[sabi_trait]
pub trait HostsApi: Send + Sync + 'static {
    /// The newest revision of the inventory.
    fn revision(&self) -> i64;
    /// JSON `HostChanges`.
    fn changes(&self, after_revision: i64, limit: u32) -> FfiFuture<RResult<AbiPayload, AbiError>>;
    /// Blob: 16 raw bytes of the host id and 8 of a little-endian time in microseconds, for each host heard of.
    #[sabi(last_prefix_field)]
    fn last_seen(&self) -> FfiFuture<RResult<AbiPayload, AbiError>>;
}

/// Wake-ups by key: hints, never the data.
#[sabi_trait]
pub trait SignalsApi: Send + Sync + 'static {
    /// Answers once any of the keys was published after generation `since` (0: ever); gives the newest generation.
    fn wait(&self, keys: RVec<RString>, since: u64) -> FfiFuture<u64>;
    /// Wakes whoever waits for the key; a module may publish only `<module>:…`.
    #[sabi(last_prefix_field)]
    fn publish(&self, key: RString);
}

/// Other modules and the server's own routes, in process.
#[sabi_trait]
pub trait CallApi: Send + Sync + 'static {
    /// Another module's method.
    fn invoke(
        &self,
        ctx: Ctx,
        module: RString,
        method: RString,
        payload: AbiPayload,
    ) -> FfiFuture<RResult<AbiPayload, AbiError>>;
    /// Any route of the server, in process.
    #[sabi(last_prefix_field)]
    fn route(&self, request: AbiRequest) -> FfiFuture<RResult<AbiResponse, AbiError>>;
}

/// What the licence grants now.
#[sabi_trait]
pub trait FeaturesApi: Send + Sync + 'static {
    /// JSON `FeatureState`.
    #[sabi(last_prefix_field)]
    fn state(&self, feature: RStr<'_>) -> RVec<u8>;
}

/// The rights of people who are not there, for what runs in their name.
#[sabi_trait]
pub trait IdentityApi: Send + Sync + 'static {
    /// Whether that principal (`user:<id>`, `token:<id>`) may use a route as things are now. JSON: the `CallContext` to call
    /// it with, or null.
    #[sabi(last_prefix_field)]
    fn acting(
        &self,
        principal: RString,
        method: RString,
        path: RString,
    ) -> FfiFuture<RResult<AbiPayload, AbiError>>;
}
