//! What of engines may change while the appliance runs.

use super::recipe::{Custom, Variant};

/// What holds now. `None` is what was said at the start.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Live {
    /// Leases per engine; for engines that were named, `None` never refuses.
    pub(crate) streams_per_engine: Option<u32>,
    /// Engines kept at least.
    pub(crate) replicas_min: Option<usize>,
    /// Containers at most.
    pub(crate) replicas_max: Option<usize>,
    /// Whether idle engines are removed.
    pub(crate) is_auto_delete: Option<bool>,
    /// Which recipe.
    pub(crate) variant: Option<Variant>,
    /// A recipe of the operator's own, which beats every variant.
    pub(crate) custom: Option<Custom>,
}
