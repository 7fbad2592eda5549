//! Whom a full port lets go, and whom it lets in.

use futures_util::FutureExt as _;

use super::*;

const LIMITS: PlaceLimits = PlaceLimits {
    connections_max: 10,
    newcomers_max: 6,
    newcomers_of_address_max: 4,
    of_principal_max: 3,
    grace: Duration::ZERO,
};

fn address(last: u8) -> IpAddr {
    IpAddr::from([192, 0, 2, last])
}

fn open(places: &Arc<Places>, last: u8, count: usize) -> Vec<Place> {
    (0..count)
        .filter_map(|_| places.take(address(last), Instant::now()).ok())
        .collect()
}

fn has_ended(place: &Place) -> bool {
    place.shared.end.is_cancelled()
}

fn ended(of: &[Place]) -> usize {
    of.iter().filter(|place| has_ended(place)).count()
}

#[tokio::test]
async fn the_oldest_stranger_makes_room_and_whoever_is_known_stays() {
    let places = Places::new(LIMITS, Vec::new());
    let known = open(&places, 1, 1);
    known[0].seat().keep_for(Key::of(&["user:1"]));
    let flood = open(&places, 2, 1_000);
    assert_eq!(ended(&flood), 996, "one address holds its share");
    assert!(flood[..996].iter().all(has_ended), "the oldest went");
    let crowd: Vec<Place> = (3..200).flat_map(|last| open(&places, last, 4)).collect();
    assert_eq!(ended(&crowd), crowd.len() - LIMITS.newcomers_max);
    assert_eq!(ended(&known), 0);
    assert!(places.room().now_or_never().is_some(), "the next comes in");
    let next = open(&places, 250, 1);
    assert_eq!(ended(&next), 0);
    drop((known, flood, crowd, next));
    let state = places.lock();
    assert!(state.taken.is_empty() && state.newcomers.is_empty());
    assert!(state.newcomers_by_address.is_empty() && state.by_principal.is_empty());
}

#[tokio::test]
async fn who_is_being_served_goes_last() {
    let places = Places::new(LIMITS, Vec::new());
    let first = open(&places, 1, 4);
    first[0].seat().set_served(true);
    let more = open(&places, 1, 3);
    assert!(!has_ended(&first[0]) && has_ended(&first[1]) && has_ended(&first[2]));
    first[0].seat().set_served(false);
    let last = open(&places, 1, 1);
    assert!(has_ended(&first[0]));
    assert_eq!(ended(&more) + ended(&last), 0);
}

#[tokio::test]
async fn a_principal_has_its_share_and_the_rest_of_it_are_strangers() {
    let places = Places::new(LIMITS, Vec::new());
    let principal = Key::of(&["user:1"]);
    let of_one = open(&places, 1, 4);
    for place in &of_one {
        place.seat().keep_for(principal);
        place.seat().keep_for(principal);
    }
    let others = open(&places, 2, 4);
    let more = open(&places, 3, 4);
    assert_eq!(ended(&of_one), 1);
    assert!(has_ended(&of_one[3]), "the fourth was not kept");
    drop((others, more, of_one));
    let again = open(&places, 1, 1);
    again[0].seat().keep_for(principal);
    again[0].seat().keep_for(Key::of(&["user:2"]));
    assert_eq!(
        places.lock().by_principal.len(),
        1,
        "it is the latest who counts"
    );
}

#[test]
fn a_newcomer_has_its_time_and_others_wait_for_it() {
    let limits = PlaceLimits {
        grace: Duration::from_secs(10),
        ..LIMITS
    };
    let places = Places::new(limits, Vec::new());
    let began = Instant::now();
    let first: Vec<Place> = (0..5)
        .filter_map(|_| places.take(address(1), began).ok())
        .collect();
    assert_eq!(first.len(), 5);
    assert_eq!(ended(&first), 1, "whoever says nothing goes at once");
    for place in &first {
        place.seat().set_begun();
    }
    let fifth = places.take(address(1), began).err();
    assert_eq!(fifth, Some(NoPlace::OfAddress), "more are turned away");
    let second: Vec<Place> = (0..2)
        .filter_map(|_| places.take(address(2), began).ok())
        .collect();
    for place in &second {
        place.seat().set_begun();
    }
    for place in &second {
        place.seat().set_begun();
    }
    assert_eq!(places.take(address(3), began).err(), Some(NoPlace::Yet));
    let ripe_at = began + limits.grace;
    assert_eq!(places.next_room(), Room::From(ripe_at));
    let third = places.take(address(3), ripe_at);
    assert_eq!((third.is_ok(), ended(&first)), (true, 2));
    drop(second);
    assert_eq!(places.next_room(), Room::Now, "two have left");
}

#[tokio::test]
async fn a_trusted_proxy_is_many_addresses() {
    let proxy = "192.0.2.9".parse().expect("an address");
    let places = Places::new(LIMITS, vec![proxy]);
    let behind = open(&places, 9, 6);
    assert_eq!((behind.len(), ended(&behind)), (6, 0));
}

#[tokio::test]
async fn a_network_of_ipv6_is_one_address() {
    let places = Places::new(LIMITS, Vec::new());
    let host = |last: u16| IpAddr::from([0x2001, 0xdb8, 1, 2, last, 0, 0, last]);
    let opened: Vec<Place> = (0..100)
        .filter_map(|last| places.take(host(last), Instant::now()).ok())
        .collect();
    assert_eq!(
        opened.len() - ended(&opened),
        LIMITS.newcomers_of_address_max
    );
}

#[tokio::test]
async fn however_many_are_known_a_newcomer_finds_a_place() {
    let limits = PlaceLimits {
        connections_max: 32,
        newcomers_max: 16,
        of_principal_max: 32,
        ..LIMITS
    };
    let places = Places::new(limits, Vec::new());
    let known: Vec<Place> = (0..8)
        .flat_map(|number| open(&places, number, 4))
        .inspect(|place| {
            let seat = place.seat();
            seat.keep_for(Key::of(&[&(place.shared.number / 4).to_string()]));
        })
        .collect();
    assert_eq!(known.len(), 32);
    assert!(places.room().now_or_never().is_some());
    let next = open(&places, 100, 1);
    assert_eq!((next.len(), ended(&known), ended(&next)), (1, 1, 0));
    next[0].seat().keep_for(Key::of(&["another"]));
    let last = open(&places, 101, 1);
    assert_eq!((last.len(), ended(&known)), (1, 2));
}

#[tokio::test]
async fn who_was_not_kept_is_kept_when_there_is_a_place() {
    let places = Places::new(LIMITS, Vec::new());
    let principal = Key::of(&["user:1"]);
    let mut of_one = open(&places, 1, 4);
    let keep = |place: &Place| place.seat().keep_for(principal);
    of_one.iter().for_each(keep);
    assert_eq!(places.lock().newcomers.len(), 1);
    drop(of_one.remove(0));
    of_one.iter().for_each(keep);
    assert_eq!(places.lock().newcomers.len(), 0);
    assert_eq!(places.lock().by_principal.get(&principal), Some(&3));
}

#[tokio::test]
async fn when_all_are_known_the_next_waits() {
    let places = Places::new(LIMITS, Vec::new());
    let mut known = Vec::new();
    for number in 0..10 {
        let place = places.take(address(number), Instant::now()).expect("room");
        place.seat().keep_for(Key::of(&[&number.to_string()]));
        known.push(place);
    }
    assert!(places.take(address(100), Instant::now()).is_err());
    let mut waiting = Box::pin(places.room());
    assert!(futures_util::poll!(waiting.as_mut()).is_pending());
    known.pop();
    waiting.await;
    assert!(places.take(address(100), Instant::now()).is_ok());
}
