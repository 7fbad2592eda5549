//! What the server tells systemd: ready once both ports are served, stopping before it drains.

use std::os::unix::net::UnixDatagram;

use fleetwright_tests::wait::PATIENCE;

use super::community;

#[test]
fn systemd_hears_that_the_server_is_ready_and_that_it_stops() {
    let mut fleet = community();
    assert!(fleet.server.stop().success());
    let path = fleet.path("notify.sock");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let heard = || {
        let mut bytes = [0; 256];
        let count = socket.recv(&mut bytes).unwrap();
        String::from_utf8(bytes[..count].to_vec()).unwrap()
    };
    fleet.server.settings.notify_socket = Some(path);
    fleet.server.launch();
    assert_eq!(heard().trim(), "READY=1");
    fleet.server.wait_ready();
    assert!(fleet.server.stop().success());
    assert_eq!(heard().trim(), "STOPPING=1");
}
