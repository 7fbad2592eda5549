//! What is asked for: `name` or `name=version`, each package once. Pure.

use std::collections::BTreeMap;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    pub name: String,
    pub version: Option<String>,
}

/// In the order asked for. Asking twice for the same is asking once; for two versions of one package is an error.
pub fn parse(packages: &[String]) -> Result<Vec<Wanted>, String> {
    let mut seen: BTreeMap<&str, Option<&str>> = BTreeMap::new();
    let mut wanted = Vec::new();
    for text in packages {
        let (name, version) = match text.split_once('=') {
            Some((name, version)) => (name, Some(version)),
            None => (text.as_str(), None),
        };
        // Whoever sent it has checked this; here it keeps a name from ever being taken for an option.
        if name.is_empty() || name.starts_with('-') {
            return Err(format!("`{name}` is not a package name"));
        }
        match seen.insert(name, version) {
            None => wanted.push(Wanted {
                name: name.to_owned(),
                version: version.map(str::to_owned),
            }),
            Some(before) if before == version => {}
            Some(_) => return Err(format!("{name} is asked for in more than one version")),
        }
    }
    Ok(wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_is_asked_for_once() {
        let list = |words: &[&str]| words.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>();
        let wanted = parse(&list(&["a", "b=1:2.0-3", "a"])).unwrap();
        let shown: Vec<_> = wanted
            .iter()
            .map(|wanted| (wanted.name.as_str(), wanted.version.as_deref()))
            .collect();
        assert_eq!(shown, [("a", None), ("b", Some("1:2.0-3"))]);
        for bad in [&["a", "a=1"][..], &["a=1", "a=2"], &["--root=/"], &["=1"]] {
            assert!(parse(&list(bad)).is_err(), "{bad:?}");
        }
    }
}
