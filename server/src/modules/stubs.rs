//! Every Pro route of the product, whether its module is there or not: what a community server answers 402 to, and who
//! alone may provide it. A test in the tests package holds this table against the modules' own declarations.

use fleetwright_plugin_api::info::{Role, RouteDeclaration, RouteKind};

use Role::{Admin, Operator, Viewer};
use RouteKind::{Continue, New, Read};

/// A route and the module that provides it.
#[derive(Clone, Debug)]
pub struct Stub {
    pub module: &'static str,
    pub route: RouteDeclaration,
}

/// All of them.
pub fn all() -> Vec<Stub> {
    TABLE
        .iter()
        .flat_map(|group| {
            group
                .routes
                .iter()
                .map(|(method, path, role, kind, summary)| Stub {
                    module: group.module,
                    route: RouteDeclaration {
                        method: (*method).to_owned(),
                        path: (*path).to_owned(),
                        feature: group.feature.to_owned(),
                        role: *role,
                        kind: *kind,
                        summary: (*summary).to_owned(),
                    },
                })
        })
        .collect()
}

/// The feature that another module's absence is told with: the first one the product's module of that name has.
pub fn feature_of(module: &str) -> Option<&'static str> {
    TABLE
        .iter()
        .find(|group| group.module == module)
        .map(|group| group.feature)
}

struct Group {
    module: &'static str,
    feature: &'static str,
    routes: &'static [(&'static str, &'static str, Role, RouteKind, &'static str)],
}

const TABLE: [Group; 6] = [
    Group {
        module: "groups",
        feature: "fleet_groups",
        routes: &[
            (
                "POST",
                "/fleet/select",
                Viewer,
                Read,
                "The hosts a selector selects",
            ),
            ("GET", "/fleet/groups", Viewer, Read, "Groups"),
            (
                "POST",
                "/fleet/groups",
                Operator,
                New,
                "Create or update a group",
            ),
            ("GET", "/fleet/groups/{id}", Viewer, Read, "One group"),
            ("PUT", "/fleet/groups/{id}", Operator, New, "Update a group"),
            (
                "DELETE",
                "/fleet/groups/{id}",
                Operator,
                New,
                "Delete a group",
            ),
            (
                "GET",
                "/fleet/groups/{id}/hosts",
                Viewer,
                Read,
                "A group's hosts now",
            ),
        ],
    },
    Group {
        module: "bulk",
        feature: "fleet_bulk_operations",
        routes: &[
            (
                "POST",
                "/fleet/bulk",
                Operator,
                New,
                "Run one operation on every host a selector selects",
            ),
            (
                "GET",
                "/fleet/bulk",
                Viewer,
                Read,
                "Bulk operations, newest first",
            ),
            (
                "GET",
                "/fleet/bulk/{id}",
                Viewer,
                Read,
                "One bulk operation",
            ),
            (
                "GET",
                "/fleet/bulk/{id}/progress",
                Viewer,
                Read,
                "How far a bulk operation is",
            ),
            (
                "GET",
                "/fleet/bulk/{id}/hosts",
                Viewer,
                Read,
                "Per-host results",
            ),
            (
                "GET",
                "/fleet/bulk/{id}/hosts/{host_id}/output",
                Viewer,
                Read,
                "The stored output of one host",
            ),
            (
                "GET",
                "/fleet/bulk/{id}/events",
                Viewer,
                Read,
                "Progress as server-sent events",
            ),
            (
                "POST",
                "/fleet/bulk/{id}/cancel",
                Operator,
                Continue,
                "Start nothing more",
            ),
            (
                "POST",
                "/fleet/bulk/{id}/pause",
                Operator,
                Continue,
                "Start nothing more until resumed",
            ),
            (
                "POST",
                "/fleet/bulk/{id}/resume",
                Operator,
                Continue,
                "Go on with a paused operation",
            ),
            (
                "POST",
                "/fleet/bulk/{id}/retry",
                Operator,
                New,
                "Run it again on hosts that failed or were skipped",
            ),
        ],
    },
    Group {
        module: "rolling",
        feature: "fleet_rolling_deployments",
        routes: &[
            (
                "POST",
                "/fleet/rolling",
                Operator,
                New,
                "Run one operation batch after batch",
            ),
            (
                "GET",
                "/fleet/rolling",
                Viewer,
                Read,
                "Rolling deployments, newest first",
            ),
            (
                "GET",
                "/fleet/rolling/{id}",
                Viewer,
                Read,
                "One rolling deployment",
            ),
            (
                "GET",
                "/fleet/rolling/{id}/progress",
                Viewer,
                Read,
                "How far a rolling deployment is",
            ),
            (
                "GET",
                "/fleet/rolling/{id}/batches",
                Viewer,
                Read,
                "Its batches",
            ),
            (
                "GET",
                "/fleet/rolling/{id}/hosts",
                Viewer,
                Read,
                "Per-host results",
            ),
            (
                "GET",
                "/fleet/rolling/{id}/hosts/{host_id}/output",
                Viewer,
                Read,
                "The stored output of one host",
            ),
            (
                "GET",
                "/fleet/rolling/{id}/events",
                Viewer,
                Read,
                "Progress as server-sent events",
            ),
            (
                "GET",
                "/fleet/rolling/{id}/trace",
                Viewer,
                Read,
                "Every transition with its cause",
            ),
            (
                "POST",
                "/fleet/rolling/{id}/pause",
                Operator,
                Continue,
                "Dispatch nothing more until resumed",
            ),
            (
                "POST",
                "/fleet/rolling/{id}/resume",
                Operator,
                Continue,
                "Go on with a paused deployment",
            ),
            (
                "POST",
                "/fleet/rolling/{id}/cancel",
                Operator,
                Continue,
                "Start nothing more",
            ),
            (
                "POST",
                "/fleet/rolling/{id}/approve",
                Operator,
                Continue,
                "Approve the next batch",
            ),
        ],
    },
    Group {
        module: "schedules",
        feature: "fleet_scheduled_operations",
        routes: &[
            ("GET", "/fleet/schedules", Viewer, Read, "Schedules"),
            (
                "POST",
                "/fleet/schedules",
                Operator,
                New,
                "Create a schedule",
            ),
            (
                "POST",
                "/fleet/schedules/preview",
                Viewer,
                Read,
                "The next times an expression fires",
            ),
            ("GET", "/fleet/schedules/{id}", Viewer, Read, "One schedule"),
            (
                "PUT",
                "/fleet/schedules/{id}",
                Operator,
                New,
                "Update a schedule",
            ),
            (
                "DELETE",
                "/fleet/schedules/{id}",
                Operator,
                New,
                "Delete a schedule",
            ),
            (
                "POST",
                "/fleet/schedules/{id}/run",
                Operator,
                New,
                "Run it now",
            ),
            (
                "GET",
                "/fleet/schedules/{id}/runs",
                Viewer,
                Read,
                "Its runs, newest first",
            ),
        ],
    },
    Group {
        module: "placement",
        feature: "fleet_placement",
        routes: &[
            (
                "GET",
                "/fleet/status",
                Viewer,
                Read,
                "Totals: nodes by state, capacity, in use, held",
            ),
            (
                "GET",
                "/fleet/nodes",
                Viewer,
                Read,
                "Hosts seen as capacity",
            ),
            ("GET", "/fleet/nodes/{id}", Viewer, Read, "One node"),
            (
                "PATCH",
                "/fleet/nodes/{id}",
                Operator,
                New,
                "Reserve or drain a node",
            ),
            (
                "POST",
                "/fleet/placements",
                Operator,
                New,
                "Place a VM on a node",
            ),
            ("GET", "/fleet/placements", Viewer, Read, "Placements"),
            (
                "GET",
                "/fleet/placements/{id}",
                Viewer,
                Read,
                "One placement",
            ),
            (
                "DELETE",
                "/fleet/placements/{id}",
                Operator,
                Continue,
                "Release a placement",
            ),
            (
                "POST",
                "/fleet/placements/{id}/confirm",
                Operator,
                Continue,
                "The VM runs where it was placed",
            ),
            (
                "GET",
                "/fleet/tenants/{tenant_id}/vms",
                Viewer,
                Read,
                "A tenant's VMs",
            ),
            ("POST", "/fleet/jobs", Operator, New, "Submit a job"),
            ("GET", "/fleet/jobs", Viewer, Read, "Jobs"),
            (
                "POST",
                "/fleet/jobs/claim",
                Operator,
                Continue,
                "Claim the best job",
            ),
            ("GET", "/fleet/jobs/{id}", Viewer, Read, "One job"),
            (
                "PATCH",
                "/fleet/jobs/{id}",
                Operator,
                Continue,
                "Report a job's stage",
            ),
            (
                "POST",
                "/fleet/jobs/{id}/claim",
                Operator,
                Continue,
                "Claim this job",
            ),
            (
                "POST",
                "/fleet/jobs/{id}/children",
                Operator,
                New,
                "Add jobs this one waits for",
            ),
            (
                "POST",
                "/fleet/jobs/{id}/waive",
                Operator,
                Continue,
                "Do without a dependency",
            ),
            (
                "GET",
                "/fleet/jobs/{id}/dag",
                Viewer,
                Read,
                "The job's dependencies",
            ),
            (
                "POST",
                "/fleet/jobs/{id}/artifacts",
                Operator,
                Continue,
                "Record what a job made",
            ),
            (
                "POST",
                "/fleet/jobs/{id}/runs",
                Operator,
                Continue,
                "Record an attempt",
            ),
            (
                "POST",
                "/fleet/jobs/{id}/requeue",
                Operator,
                Continue,
                "Queue it again",
            ),
            (
                "POST",
                "/fleet/jobs/{id}/cancel",
                Operator,
                Continue,
                "Cancel a job",
            ),
            (
                "POST",
                "/fleet/jobs/{id}/reject",
                Operator,
                Continue,
                "Give a job up",
            ),
            (
                "GET",
                "/fleet/jobs/{id}/events",
                Viewer,
                Read,
                "A job's events as server-sent events",
            ),
            (
                "PUT",
                "/fleet/products/{id}/weights",
                Operator,
                New,
                "A product's scoring weights",
            ),
            (
                "POST",
                "/fleet/factories",
                Operator,
                New,
                "Register a factory",
            ),
            ("GET", "/fleet/factories", Viewer, Read, "Factories"),
            (
                "POST",
                "/fleet/factories/{id}/heartbeat",
                Operator,
                Continue,
                "A factory lives, and holds these jobs",
            ),
        ],
    },
    Group {
        module: "placement",
        feature: "fleet_budgets",
        routes: &[
            ("GET", "/fleet/budgets", Viewer, Read, "Budgets"),
            (
                "GET",
                "/fleet/budgets/{product_id}",
                Viewer,
                Read,
                "One budget",
            ),
            (
                "PUT",
                "/fleet/budgets/{product_id}",
                Admin,
                New,
                "Set a budget",
            ),
            (
                "POST",
                "/fleet/budgets/{product_id}/pause",
                Admin,
                Continue,
                "Pause a budget",
            ),
            (
                "POST",
                "/fleet/budgets/{product_id}/resume",
                Admin,
                Continue,
                "Resume a budget",
            ),
            (
                "POST",
                "/fleet/budgets/{product_id}/spend",
                Operator,
                Continue,
                "Record spending",
            ),
        ],
    },
];
