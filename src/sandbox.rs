//! What to do where a service may not write: the kernel's word for it does not say who forbids it.

use std::io::{self, ErrorKind};
use std::path::Path;

/// What to add to an error about writing at `path`; empty where no sandbox is to blame.
pub fn remedy(path: &Path, error: &io::Error) -> String {
    // systemd gives every service an id for this run.
    remedy_for(path, error, std::env::var_os("INVOCATION_ID").is_some())
}

fn remedy_for(path: &Path, error: &io::Error, is_service: bool) -> String {
    let directory = path.parent().filter(|_| path.is_absolute());
    let Some(directory) = directory.filter(|_| is_service && error.kind() == ErrorKind::ReadOnlyFilesystem) else {
        return String::new();
    };
    let directory = directory.display();
    format!(
        ": the sandbox of the service (ProtectSystem= of its unit) lets it write below /var/log/outrider, /var/lib/outrider and \
         /run/outrider only; to open {directory}, which the user outrider has to own, run `systemctl edit outrider`, put in the two \
         lines [Service] and ReadWritePaths={directory}, and restart it"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_is_told_of_its_sandbox() {
        let error = io::Error::from(rustix::io::Errno::ROFS);
        let text = remedy_for(Path::new("/srv/log/access.log"), &error, true);
        assert!(text.contains("sandbox") && text.contains("systemctl edit outrider"), "{text}");
        assert!(text.contains("ReadWritePaths=/srv/log, "), "{text}");
        assert_eq!(remedy_for(Path::new("/srv/log/access.log"), &error, false), "");
        assert_eq!(remedy_for(Path::new("/srv/log/access.log"), &rustix::io::Errno::NOENT.into(), true), "");
    }
}
