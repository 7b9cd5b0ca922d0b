use super::{Op, Query};
use nfnetlink::{Dump, Errno, Reply, Result};
pub(super) fn new(_op: &mut Op<'_>) -> Result<()> {
    Err(Errno::EOPNOTSUPP.into())
}
pub(super) fn delete(_op: &mut Op<'_>) -> Result<()> {
    Err(Errno::EOPNOTSUPP.into())
}
pub(super) fn get(_query: &Query<'_>, _reply: &mut Reply<'_>) -> Result<()> {
    Err(Errno::EOPNOTSUPP.into())
}
pub(super) fn dump(query: &Query<'_>) -> Result<Box<dyn Dump>> {
    super::dump::Walk::start(query.state, std::iter::empty::<()>(), |_, _, _| {})
}
pub(super) fn remove(_op: &mut Op<'_>, _id: crate::ids::FlowtableId) -> Result<()> {
    Err(Errno::EOPNOTSUPP.into())
}
