//! Short names on the command line, made into inventory paths by the target's path.

/// The target of an import, `/datacenter/host/cluster[/Resources/pool]`, in its parts.
///
/// Paths that begin with `/` are taken as they are.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    /// `/datacenter`, with the folders it lies in.
    datacenter: String,
    /// `/datacenter/host/cluster`.
    cluster: String,
    names_pool: bool,
    /// The target is a reference: nothing can be completed by it.
    is_bare: bool,
}

impl Place {
    /// The place of a target that was given by its reference.
    pub(crate) fn bare(names_pool: bool) -> Self {
        let (datacenter, cluster) = (String::new(), String::new());
        Self { datacenter, cluster, names_pool, is_bare: true }
    }

    /// A text that this place cannot make a path of.
    pub(crate) fn cannot_complete(&self, path: &str) -> bool {
        self.is_bare && !is_whole(path)
    }

    pub(crate) fn new(target: &str) -> Self {
        let names: Vec<&str> = target.split('/').filter(|name| !name.is_empty()).collect();
        let path = |names: &[&str]| names.iter().map(|name| format!("/{name}")).collect::<String>();
        // A datacenter comes before its folder of hosts.
        let host = names.iter().skip(1).position(|name| *name == "host").map_or(1, |at| at + 1);
        let resources = names.iter().skip(host).position(|name| *name == "Resources");
        let end = resources.map_or(names.len(), |at| at + host);
        Self {
            datacenter: path(&names[..host.min(names.len())]),
            cluster: path(&names[..end]),
            names_pool: resources.is_some(),
            is_bare: false,
        }
    }

    /// Whether the target itself says which pool.
    pub(crate) const fn names_pool(&self) -> bool {
        self.names_pool
    }

    /// `a/b` is the folder below the datacenter's folder of machines; `vm/a/b` is the same.
    pub(crate) fn folder(&self, path: &str) -> String {
        let below = path.strip_prefix("vm/").unwrap_or(path);
        match path {
            _ if is_whole(path) => path.to_owned(),
            "vm" => format!("{}/vm", self.datacenter),
            _ => format!("{}/vm/{below}", self.datacenter),
        }
    }

    /// `a/b` is the pool below the cluster's; `cluster/Resources/a` names the cluster too.
    pub(crate) fn pool(&self, path: &str) -> String {
        if is_whole(path) {
            path.to_owned()
        } else if path.split('/').skip(1).any(|name| name == "Resources") {
            format!("{}/host/{path}", self.datacenter)
        } else if path == "Resources" || path.starts_with("Resources/") {
            format!("{}/{path}", self.cluster)
        } else {
            format!("{}/Resources/{path}", self.cluster)
        }
    }

    /// `name` is a host of the cluster; `cluster/name` names the cluster too.
    pub(crate) fn host(&self, path: &str) -> String {
        if is_whole(path) {
            path.to_owned()
        } else if path.contains('/') {
            format!("{}/host/{path}", self.datacenter)
        } else if self.cluster.ends_with(&format!("/{path}")) {
            self.cluster.clone()
        } else {
            format!("{}/{path}", self.cluster)
        }
    }
}

/// Whether a text needs nothing: a full path, or a reference such as `Folder:group-v3`.
fn is_whole(text: &str) -> bool {
    let is_reference = |text: &str| {
        !text.contains('/')
            && text.split_once(':').is_some_and(|(kind, _)| REFERENCES.contains(&kind))
    };
    text.starts_with('/') || text.starts_with("?moref=") || is_reference(text)
}

/// Types of the objects that flags name; a name may hold a colon, too.
const REFERENCES: [&str; 4] = ["Folder", "HostSystem", "ResourcePool", "VirtualApp"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_names_are_completed() {
        for target in ["/DC0/host/C0", "/DC0/host/C0/Resources/pool1", "/DC0/host/C0/Resources"] {
            let place = Place::new(target);
            assert_eq!(place.folder("a/b"), "/DC0/vm/a/b");
            assert_eq!(place.folder("vm/a"), "/DC0/vm/a");
            assert_eq!(place.folder("vm"), "/DC0/vm");
            assert_eq!(place.folder("/DC1/vm/a"), "/DC1/vm/a");
            assert_eq!(place.pool("p"), "/DC0/host/C0/Resources/p");
            assert_eq!(place.pool("Resources/p"), "/DC0/host/C0/Resources/p");
            assert_eq!(place.pool("C1/Resources/p"), "/DC0/host/C1/Resources/p");
            assert_eq!(place.pool("/DC0/x"), "/DC0/x");
            assert_eq!(place.host("h"), "/DC0/host/C0/h");
            assert_eq!(place.host("C1/h"), "/DC0/host/C1/h");
            assert_eq!(place.host("C0"), "/DC0/host/C0");
            assert_eq!(place.names_pool(), target.contains("Resources"));
        }
    }

    #[test]
    fn references_are_taken_as_they_are() {
        let place = Place::new("/DC0/host/C0");
        assert_eq!(place.folder("Folder:group-v3"), "Folder:group-v3");
        assert_eq!(place.pool("?moref=resgroup-8"), "?moref=resgroup-8");
        assert_eq!(place.host("HostSystem:host-9"), "HostSystem:host-9");
        assert_eq!(place.folder("a:b"), "/DC0/vm/a:b");
        assert!(!place.cannot_complete("a"));
        let bare = Place::bare(true);
        assert!(bare.cannot_complete("a") && !bare.cannot_complete("/DC0/vm/a"));
        assert!(!bare.cannot_complete("Folder:group-v3"));
    }

    #[test]
    fn odd_targets_do_no_harm() {
        let place = Place::new("/folder/DC0/host/C0");
        assert_eq!(place.folder("a"), "/folder/DC0/vm/a");
        assert_eq!(place.host("h"), "/folder/DC0/host/C0/h");
        for target in ["", "/", "/host", "/a", "Resources", "/host/host"] {
            let place = Place::new(target);
            let _paths = (place.folder("a"), place.pool("a"), place.host("a"));
        }
    }
}
