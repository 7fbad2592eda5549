//! A database whose commits wait until two are there.

use std::sync::Arc;

use fleetwright_plugin_api::abi::{AbiStatement, AbiTable, Op};
use fleetwright_plugin_api::sdk::ServerError;
use fleetwright_plugin_api::sdk::testing::SqlBackend;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio::sync::Barrier;

pub struct Meeting {
    inner: Arc<dyn SqlBackend>,
    barrier: Arc<Barrier>,
}

impl Meeting {
    pub fn of_two(inner: Arc<dyn SqlBackend>) -> Arc<dyn SqlBackend> {
        Arc::new(Self {
            inner,
            barrier: Arc::new(Barrier::new(2)),
        })
    }
}

impl SqlBackend for Meeting {
    fn dialect(&self) -> u32 {
        self.inner.dialect()
    }

    fn read(
        &self,
        statements: Vec<AbiStatement>,
    ) -> BoxFuture<'static, Result<Vec<AbiTable>, ServerError>> {
        self.inner.read(statements)
    }

    fn commit(&self, ops: Vec<(usize, Op)>) -> BoxFuture<'static, Result<(), ServerError>> {
        let (inner, barrier) = (Arc::clone(&self.inner), Arc::clone(&self.barrier));
        async move {
            barrier.wait().await;
            inner.commit(ops).await
        }
        .boxed()
    }
}
