//! Places under other names, against policies that name them once.

use std::os::unix::fs::symlink;

use fleetwright_protocol::operation::DeployFile;

use super::*;
use crate::operations::deploy_file;

struct Host(tempfile::TempDir);

impl Host {
    /// `usr/bin` with a tool, `bin` that leads there, `srv/www`, and a chain of links.
    fn new() -> Self {
        let host = Self(tempfile::tempdir().unwrap());
        for folder in ["usr/bin", "srv/www", "etc/ssh"] {
            std::fs::create_dir_all(host.path(folder)).unwrap();
        }
        for file in ["usr/bin/tool", "etc/shadow", "etc/ssh/key"] {
            std::fs::write(host.path(file), file).unwrap();
        }
        for (link, target) in [
            ("bin", "usr/bin"),
            ("round", "srv/../bin/../../srv/www/../../bin"),
            ("secrets", "etc/shadow"),
            ("dangling", "usr/lib/later"),
        ] {
            symlink(target, host.path(link)).unwrap();
        }
        symlink(host.path("round"), host.path("srv/absolute")).unwrap();
        std::fs::hard_link(host.path("etc/shadow"), host.path("srv/www/other")).unwrap();
        host
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    fn policy(&self, deny: &[&str], allow: &[&str]) -> PathPolicy {
        let texts = |names: &[&str]| names.iter().map(|name| self.text(name)).collect();
        PathPolicy {
            deny: texts(deny),
            allow: texts(allow),
            own: Vec::new(),
        }
    }

    fn lets(&self, policy: &PathPolicy, name: &str) -> bool {
        let file = DeployFile {
            path: self.text(name),
            create_parents: true,
            ..DeployFile::default()
        };
        deploy_file::look(&file, &policy.guard()).is_ok()
    }
}

#[test]
fn a_place_is_denied_under_each_of_its_names() {
    let host = Host::new();
    for name in [
        "bin",
        "usr/bin",
        "round",
        "srv/absolute",
        "usr/./bin//",
        "usr/bin/../bin",
    ] {
        let policy = host.policy(&[name], &[]);
        for (path, expected) in [
            ("usr/bin/tool", false),
            ("usr/bin/new", false),
            ("bin/new", false),
            ("usr/bin/deep/er/new", false),
            ("bin/deep/new", false),
            ("round/new", false),
            ("srv/absolute/new", false),
            ("usr/./bin//new", false),
            ("usr/bin", false),
            ("usr/binary", true),
            ("usr/new", true),
            ("srv/www/new", true),
            ("etc/shadow", true),
        ] {
            assert_eq!(host.lets(&policy, path), expected, "{name} denied: {path}");
        }
        // The name itself may not be made another thing either.
        assert!(!host.lets(&policy, name), "{name}");
    }
}

#[test]
fn a_file_is_denied_under_each_of_its_names() {
    let host = Host::new();
    for name in ["etc/shadow", "secrets", "srv/www/other"] {
        let policy = host.policy(&[name], &[]);
        for path in ["etc/shadow", "srv/www/other"] {
            assert!(!host.lets(&policy, path), "{name} denied: {path}");
        }
        assert!(host.lets(&policy, "etc/shadow-"), "{name}");
        assert!(host.lets(&policy, "srv/www/another"), "{name}");
    }
}

#[test]
fn what_does_not_exist_yet_is_compared_from_the_nearest_folder_that_does() {
    let host = Host::new();
    let policy = host.policy(&["bin/plugins/mine", "dangling", "etc/new.d"], &[]);
    for (path, expected) in [
        ("usr/bin/plugins/mine/x", false),
        ("bin/plugins/mine", false),
        ("bin/plugins/mine.conf", true),
        ("bin/plugins/other", true),
        ("bin/plugins", true),
        ("usr/lib/later", false),
        ("usr/lib/later/deep/x", false),
        ("usr/lib/x", true),
        ("dangling", false),
        ("etc/new.d/x", false),
        ("etc/NEW.D/x", true),
    ] {
        assert_eq!(host.lets(&policy, path), expected, "{path}");
    }
    // And once it is there.
    std::fs::create_dir_all(host.path("usr/bin/plugins/mine")).unwrap();
    symlink("bin/plugins", host.path("usr/plug")).unwrap();
    assert!(!host.lets(&policy, "usr/plug/mine/x"));
    assert!(host.lets(&policy, "usr/plug/other/x"));
}

#[test]
fn what_is_allowed_is_a_place_too_and_denied_ones_win() {
    let host = Host::new();
    for allowed in ["bin", "usr/bin", "round"] {
        let policy = host.policy(&["usr/bin/tool"], &[allowed]);
        for (path, expected) in [
            ("usr/bin/new", true),
            ("bin/deep/new", true),
            ("bin/tool", false),
            ("usr/new", false),
            ("etc/ssh/key", false),
            // By a link that leads out of it.
            ("usr/bin/out/key", false),
        ] {
            let link = host.path("usr/bin/out");
            if !link.exists() {
                symlink("../../etc/ssh", link).unwrap();
            }
            assert_eq!(
                host.lets(&policy, path),
                expected,
                "{allowed} allowed: {path}"
            );
        }
    }
    let later = host.policy(&[], &["srv/later"]);
    assert!(host.lets(&later, "srv/later/x") && !host.lets(&later, "srv/latest"));
}

#[test]
fn what_cannot_be_looked_at_is_compared_as_text() {
    let host = Host::new();
    symlink("loop", host.path("loop")).unwrap();
    let policy = host.policy(&["etc/shadow/x", "loop/y"], &[]);
    assert!(host.lets(&policy, "etc/x"));
    assert!(!policy.deny.is_empty());
}

#[test]
fn the_agents_own_files_are_denied_without_a_policy() {
    let host = Host::new();
    let conf = host.path("agent/fleetwright");
    std::fs::create_dir_all(&conf).unwrap();
    std::fs::create_dir_all(host.path("agent/data/run")).unwrap();
    for file in [
        "agent/fleetwright/agent.toml",
        "agent/data/agent.key",
        "ca.pem",
    ] {
        std::fs::write(host.path(file), "x").unwrap();
    }
    symlink("agent/fleetwright", host.path("settings")).unwrap();
    for (name, of) in [
        ("key-2", "agent/data/agent.key"),
        ("toml-2", "agent/fleetwright/agent.toml"),
        ("ca-2", "ca.pem"),
    ] {
        std::fs::hard_link(host.path(of), host.path(name)).unwrap();
    }
    let config = Config {
        file: Some(conf.join("agent.toml")),
        data_dir: host.path("agent/data"),
        ca_file: Some(host.path("ca.pem")),
        ..Config::default()
    };
    let policy = PathPolicy::of(&config);
    for (path, expected) in [
        ("agent/fleetwright/agent.toml", false),
        ("agent/fleetwright/other", false),
        ("settings/agent.toml", false),
        ("agent/fleetwright/new/deep", false),
        ("agent/data/agent.key", false),
        ("agent/data/run/x/script", false),
        ("ca.pem", false),
        ("key-2", false),
        ("toml-2", false),
        ("ca-2", false),
        ("agent/other", true),
        ("etc/ssh/key", true),
    ] {
        assert_eq!(host.lets(&policy, path), expected, "{path}");
    }
    let own = |path: &str| {
        let file = DeployFile {
            path: path.to_owned(),
            create_parents: true,
            ..DeployFile::default()
        };
        deploy_file::look(&file, &policy.guard()).is_err()
    };
    let program = std::env::current_exe().unwrap();
    assert!(own(program.to_str().unwrap()));
    for path in [
        "/etc/systemd/system/fleetwright-agent.service",
        "/etc/systemd/system/fleetwright-agent.service.d/10-mine.conf",
        "/lib/systemd/system/fleetwright-agent.service",
        "/run/systemd/system/service.d/all.conf",
        "/etc/fleetwright/agent.toml",
        "/etc/init.d/fleetwright-agent",
        "/usr/bin/fleetwright-agent",
    ] {
        assert!(own(path), "{path}");
    }
    assert!(!own("/etc/systemd/system/other.service"));
    assert!(!own("/usr/bin/another-program"));
}

#[test]
fn settings_in_a_folder_of_others_are_guarded_without_it() {
    let host = Host::new();
    std::fs::write(host.path("srv/agent.toml"), "x").unwrap();
    let config = Config {
        file: Some(host.path("srv/agent.toml")),
        data_dir: host.path("data"),
        ..Config::default()
    };
    let policy = PathPolicy::of(&config);
    for (path, expected) in [
        ("srv/agent.toml", false),
        ("srv/../srv/agent.toml", false),
        ("srv/index.html", true),
        ("srv/www/index.html", true),
    ] {
        assert_eq!(host.lets(&policy, path), expected, "{path}");
    }
}

#[test]
fn a_policy_reads_back_from_the_order_of_a_plan() {
    let policy = PathPolicy::of(&Config::default());
    let text = serde_json::to_string(&policy).unwrap();
    assert_eq!(serde_json::from_str::<PathPolicy>(&text).unwrap(), policy);
    assert_eq!(
        serde_json::from_str::<PathPolicy>("{}").unwrap(),
        PathPolicy::default()
    );
}
