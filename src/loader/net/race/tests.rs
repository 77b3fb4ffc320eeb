use std::any::Any;
use std::future::{pending, ready};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use proptest::collection::vec;
use proptest::prelude::*;
use tokio::net::TcpSocket;
use tokio::time::sleep;

use super::*;

const DEADLINE: u64 = 8000;
const NEVER: u64 = u64::MAX / 2;

/// What an address does, some milliseconds after the attempt begins.
#[derive(Debug, Clone, Copy)]
enum Behaviour {
    Connects(u64),
    Refuses(u64),
    Silent,
}

/// A name, its servers, and the network between it and a machine.
#[derive(Debug, Clone)]
struct Universe {
    v6: Told,
    v4: Told,
}

/// What is told of a family and when, in hosts that may stand there twice.
#[derive(Debug, Clone)]
struct Told {
    when: Option<u64>,
    hosts: Vec<u8>,
    behaviours: Vec<Behaviour>,
}

/// How a race goes, in milliseconds from its beginning.
#[derive(Debug, PartialEq, Eq)]
struct Course {
    attempts: Vec<(u64, IpAddr)>,
    end: (u64, Action),
}

fn address(family: Family, host: u8) -> IpAddr {
    match family {
        Family::V6 => Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, host.into()).into(),
        Family::V4 => Ipv4Addr::new(10, 0, 0, host).into(),
    }
}

impl Told {
    /// The addresses that count: each once, and eight at most.
    fn addresses(&self, family: Family) -> VecDeque<IpAddr> {
        let mut addresses = VecDeque::new();
        for host in self.hosts.iter().filter(|_| self.when.is_some()) {
            let address = address(family, *host);
            if !addresses.contains(&address) {
                addresses.push_back(address);
            }
        }
        addresses.truncate(8);
        addresses
    }
}

impl Universe {
    fn behaviour(&self, address: IpAddr) -> Behaviour {
        match address {
            IpAddr::V6(address) => self.v6.behaviours[usize::from(address.octets()[15])],
            IpAddr::V4(address) => self.v4.behaviours[usize::from(address.octets()[3])],
        }
    }

    /// Runs a race. Of what happens in the same millisecond, connections come first, then answers,
    /// failures and the timer.
    fn race(&self) -> Course {
        let begun = Instant::now();
        let mut race = Race::new(begun, LIMIT);
        let mut coming: Vec<((u64, u8, usize), Event)> = Vec::new();
        for (family, told) in [(Family::V6, &self.v6), (Family::V4, &self.v4)] {
            if let Some(when) = told.when {
                let addresses = told.hosts.iter().map(|host| address(family, *host));
                coming.push(((when, 1, 0), Event::Answer(family, Ok(addresses.collect()))));
            }
        }
        let mut attempts = Vec::new();
        for _ in 0..100 {
            let wake = u64::try_from((race.wake() - begun).as_millis()).unwrap();
            coming.sort_by_key(|(when, _)| *when);
            let (now, event) = match coming.first() {
                Some(((when, ..), _)) if *when <= wake => {
                    let ((when, ..), event) = coming.remove(0);
                    (when, event)
                }
                _ => (wake, Event::Timer),
            };
            match race.handle(event, begun + Duration::from_millis(now)) {
                None => {}
                Some(Action::Connect(address)) => {
                    let count = attempts.len();
                    match self.behaviour(address) {
                        Behaviour::Connects(after) => {
                            coming.push(((now + after, 0, count), Event::Connected(address)));
                        }
                        Behaviour::Refuses(after) => {
                            let error = io::ErrorKind::ConnectionRefused.into();
                            coming.push(((now + after, 2, count), Event::Failed(address, error)));
                        }
                        Behaviour::Silent => {}
                    }
                    attempts.push((now, address));
                }
                Some(end @ (Action::Win(_) | Action::Lose)) => {
                    return Course {
                        attempts,
                        end: (now, end),
                    };
                }
            }
        }
        panic!("the race does not end");
    }

    /// How it must go: one attempt after the other, without events.
    fn model(&self) -> Course {
        let (when6, when4) = (self.v6.when.unwrap_or(NEVER), self.v4.when.unwrap_or(NEVER));
        let (mut v6, mut v4) = (self.v6.addresses(Family::V6), self.v4.addresses(Family::V4));
        let all_told = when6.max(when4);
        let only = (v6.len() + v4.len() == 1).then(|| *v6.iter().chain(&v4).next().unwrap());
        let mut end = (DEADLINE, Action::Lose);
        let mut attempts: Vec<(u64, IpAddr)> = Vec::new();
        let mut failures = Vec::new();
        let mut hold = when6.min(when4 + 50);
        loop {
            let ready6 = if v6.is_empty() { NEVER } else { when6 };
            let ready4 = if v4.is_empty() { NEVER } else { when4 };
            let start = match attempts.last() {
                None => ready6.min(ready4.max(hold)),
                Some(_) => ready6.min(ready4).max(hold),
            };
            if start >= end.0 || only.is_some() && start >= all_told {
                break;
            }
            let turn_of_v4 = attempts.last().is_some_and(|(_, last)| last.is_ipv6());
            let v4_now = ready4 <= start && (turn_of_v4 || ready6 > start);
            let next = if v4_now { &mut v4 } else { &mut v6 }.pop_front().unwrap();
            attempts.push((start, next));
            hold = start + 250;
            match self.behaviour(next) {
                // A connection at the last moment is one.
                Behaviour::Connects(after)
                    if start + after < end.0 + u64::from(end.1 == Action::Lose) =>
                {
                    end = (start + after, Action::Win(next));
                }
                Behaviour::Connects(_) | Behaviour::Silent => {}
                Behaviour::Refuses(after) => {
                    failures.push(start + after);
                    hold = hold.min(start + after);
                }
            }
        }
        let failed = failures.iter().copied().max().unwrap_or(0);
        if let Some(only) = only
            && all_told < end.0
            && (failures.is_empty() || failed >= all_told)
        {
            end = (all_told, Action::Win(only));
        } else if v6.is_empty() && v4.is_empty() && failures.len() == attempts.len() {
            end = (all_told.max(failed).min(DEADLINE), Action::Lose);
        }
        Course { attempts, end }
    }
}

fn behaviours() -> impl Strategy<Value = Vec<Behaviour>> {
    let behaviour = prop_oneof![
        3 => Just(Behaviour::Silent),
        3 => (0..600_u64).prop_map(Behaviour::Refuses),
        1 => (0..9000_u64).prop_map(Behaviour::Refuses),
        1 => (0..600_u64).prop_map(Behaviour::Connects),
        1 => (0..9000_u64).prop_map(Behaviour::Connects),
    ];
    vec(behaviour, 12)
}

/// One family's answer comes in even milliseconds and the other's in odd ones: which of two that come
/// at once is seen first is not for the race to say.
fn told(odd: u64) -> impl Strategy<Value = Told> {
    let when = prop_oneof![
        1 => Just(None),
        5 => (0..150_u64).prop_map(Some),
        2 => (0..4500_u64).prop_map(Some),
    ];
    let hosts = prop_oneof![vec(0..12_u8, 0..3), vec(0..12_u8, 0..14)];
    (when, hosts, behaviours()).prop_map(move |(when, hosts, behaviours)| Told {
        when: when.map(|when| 2 * when + odd),
        hosts,
        behaviours,
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]

    #[test]
    fn any_race_goes_as_the_model_says(v6 in told(0), v4 in told(1)) {
        let universe = Universe { v6, v4 };
        let course = universe.race();
        for pair in course.attempts.windows(2) {
            let [(before, address), (after, _)] = pair else { unreachable!() };
            let failed = match universe.behaviour(*address) {
                Behaviour::Refuses(after) => before + after,
                Behaviour::Connects(_) | Behaviour::Silent => NEVER,
            };
            prop_assert!(*after >= (before + 250).min(failed), "{course:?}");
        }
        let first = course.attempts.iter().filter_map(|(start, address)| {
            match universe.behaviour(*address) {
                Behaviour::Connects(after) => Some((start + after, *address)),
                Behaviour::Refuses(_) | Behaviour::Silent => None,
            }
        });
        if let Some((when, _)) = first.min_by_key(|(when, _)| *when) {
            prop_assert!(course.end.0 <= when, "{course:?}");
            prop_assert!(course.end.1 != Action::Lose || when > DEADLINE, "{course:?}");
        }
        prop_assert!(course.end.0 <= DEADLINE);
        prop_assert_eq!(course, universe.model());
    }
}

/// A race and its clock, in milliseconds.
struct Clocked {
    race: Race,
    begun: Instant,
}

impl Clocked {
    fn new() -> Self {
        let begun = Instant::now();
        Self {
            race: Race::new(begun, LIMIT),
            begun,
        }
    }

    fn at(&mut self, ms: u64, event: Event) -> Option<Action> {
        self.race
            .handle(event, self.begun + Duration::from_millis(ms))
    }

    fn wake(&self) -> u128 {
        (self.race.wake() - self.begun).as_millis()
    }
}

fn answer(family: Family, hosts: &[u8]) -> Event {
    let addresses = hosts.iter().map(|host| address(family, *host)).collect();
    Event::Answer(family, Ok(addresses))
}

fn no_answer(family: Family) -> Event {
    Event::Answer(family, Err(NetError::Timeout))
}

fn refused(address: IpAddr) -> Event {
    Event::Failed(address, io::ErrorKind::ConnectionRefused.into())
}

#[test]
fn ipv4_waits_for_the_answer_about_ipv6_for_50_ms_and_for_no_other() {
    let (v6, v4) = (address(Family::V6, 1), address(Family::V4, 1));
    let mut race = Clocked::new();
    assert_eq!(race.at(10, answer(Family::V4, &[1, 2])), None);
    assert_eq!(race.wake(), 60);
    assert_eq!(race.at(59, Event::Timer), None);
    assert_eq!(race.at(60, Event::Timer), Some(Action::Connect(v4)));
    // What comes late is next.
    assert_eq!(race.at(100, answer(Family::V6, &[1])), None);
    assert_eq!(race.wake(), 310);
    assert_eq!(race.at(310, Event::Timer), Some(Action::Connect(v6)));

    for negative in [answer(Family::V6, &[]), no_answer(Family::V6)] {
        let mut race = Clocked::new();
        assert_eq!(race.at(10, answer(Family::V4, &[1, 2])), None);
        assert_eq!(race.at(11, negative), Some(Action::Connect(v4)));
    }
    let mut race = Clocked::new();
    let begun = race.at(10, answer(Family::V6, &[1]));
    assert_eq!(begun, Some(Action::Connect(v6)), "IPv6 waits for nobody");
}

#[test]
fn a_refusal_begins_the_next_attempt_and_one_of_an_earlier_attempt_does_not() {
    let mut race = Clocked::new();
    let (v6, v4) = (address(Family::V6, 1), address(Family::V4, 1));
    race.at(0, answer(Family::V6, &[1, 2]));
    race.at(0, answer(Family::V4, &[1, 2]));
    assert_eq!(race.at(250, Event::Timer), Some(Action::Connect(v4)));
    assert_eq!(race.at(260, refused(v6)), None);
    let next = address(Family::V6, 2);
    assert_eq!(race.at(270, refused(v4)), Some(Action::Connect(next)));
    assert_eq!(race.wake(), 520);
}

#[test]
fn the_only_address_is_used_as_it_is() {
    let (v6, v4) = (address(Family::V6, 1), address(Family::V4, 1));
    let mut race = Clocked::new();
    assert_eq!(race.at(0, answer(Family::V6, &[])), None);
    assert_eq!(
        race.at(1, answer(Family::V4, &[1, 1])),
        Some(Action::Win(v4))
    );
    // An attempt that has begun is not waited for.
    let mut race = Clocked::new();
    assert_eq!(
        race.at(0, answer(Family::V6, &[1])),
        Some(Action::Connect(v6))
    );
    assert_eq!(race.at(1, no_answer(Family::V4)), Some(Action::Win(v6)));
    // One that has failed already is no winner.
    let mut race = Clocked::new();
    race.at(0, answer(Family::V6, &[1]));
    assert_eq!(race.at(1, refused(v6)), None, "IPv4 may still come");
    assert_eq!(race.at(2, answer(Family::V4, &[])), Some(Action::Lose));
}

#[test]
fn a_name_without_addresses_is_lost_when_both_answers_say_so() {
    let mut race = Clocked::new();
    assert_eq!(race.at(0, answer(Family::V4, &[])), None);
    assert_eq!(race.wake(), u128::from(DEADLINE));
    assert_eq!(race.at(70, answer(Family::V6, &[])), Some(Action::Lose));
    let lost = race.race.lost();
    assert!(lost.tried.is_empty() && lost.unanswered.is_empty());

    let mut race = Clocked::new();
    race.at(0, answer(Family::V4, &[]));
    assert_eq!(race.at(DEADLINE, Event::Timer), Some(Action::Lose));
    let lost = race.race.lost();
    assert!(matches!(
        lost.unanswered[..],
        [(Family::V6, NetError::Timeout)]
    ));
}

#[test]
fn a_lost_race_says_what_became_of_each_address() {
    let mut race = Clocked::new();
    let (v6, v4) = (address(Family::V6, 1), address(Family::V4, 1));
    race.at(7500, answer(Family::V4, &[1, 2, 3]));
    assert_eq!(race.at(7550, Event::Timer), Some(Action::Connect(v4)));
    race.at(7560, answer(Family::V6, &[1]));
    assert_eq!(race.at(7570, refused(v4)), Some(Action::Connect(v6)));
    race.at(7820, Event::Timer);
    race.at(7900, refused(v6));
    assert_eq!(race.at(DEADLINE, Event::Timer), Some(Action::Lose));
    let lost = race.race.lost();
    let tried: Vec<String> = lost.tried.iter().map(TriedAddress::to_string).collect();
    assert_eq!(
        tried,
        [
            "10.0.0.1: connection refused",
            "fd00::1: connection refused",
            "10.0.0.2: no answer",
            "10.0.0.3: known too late to be tried",
        ]
    );
    assert!(lost.unanswered.is_empty());
}

#[test]
fn of_a_flood_of_addresses_eight_of_each_family_are_tried() {
    let mut race = Clocked::new();
    let hosts: Vec<u8> = (0..=255).collect();
    race.at(0, answer(Family::V6, &hosts));
    race.at(0, answer(Family::V4, &hosts));
    let order = race.race.order();
    let expected = (0..8).flat_map(|host| [address(Family::V6, host), address(Family::V4, host)]);
    assert!(order.into_iter().eq(expected));
}

/// What stands at an address.
#[derive(Clone, Copy)]
enum Stands {
    Open,
    /// SYNs are dropped: the queue of those who want in is full.
    Silent,
    /// Bound, so that nobody else listens there.
    Refused,
}

/// Whatever has to be kept for it to stand.
type Door = Box<dyn Any>;

/// Puts something at each of the addresses, at one port.
async fn doors(stands: &[(&str, Stands)]) -> (u16, Vec<Door>) {
    'ports: for _ in 0..100 {
        let mut port = 0;
        let mut doors = Vec::new();
        for (address, stands) in stands {
            let address = SocketAddr::new(address.parse().unwrap(), port);
            let socket = if address.is_ipv6() {
                TcpSocket::new_v6().unwrap()
            } else {
                TcpSocket::new_v4().unwrap()
            };
            if socket.bind(address).is_err() {
                continue 'ports;
            }
            port = socket.local_addr().unwrap().port();
            doors.push(door(socket, *stands).await);
        }
        return (port, doors);
    }
    panic!("no port is free at all of them");
}

async fn door(socket: TcpSocket, stands: Stands) -> Door {
    let address = socket.local_addr().unwrap();
    match stands {
        Stands::Refused => Box::new(socket),
        Stands::Open => Box::new(socket.listen(128).unwrap()),
        Stands::Silent => {
            let listener = socket.listen(0).unwrap();
            let mut queue = Vec::new();
            let patience = Duration::from_millis(200);
            while let Ok(stream) = timeout(patience, TcpStream::connect(address)).await {
                queue.push(stream.unwrap());
            }
            Box::new((listener, queue))
        }
    }
}

fn addresses(list: &[&str]) -> Vec<IpAddr> {
    list.iter()
        .map(|address| address.parse().unwrap())
        .collect()
}

fn at_once(list: &[&str]) -> impl Future<Output = Answer> + Send + 'static {
    ready(Ok(addresses(list)))
}

#[tokio::test]
async fn a_silent_ipv6_address_does_not_hold_up_ipv4() {
    let (port, _doors) = doors(&[("::1", Stands::Silent), ("127.0.0.2", Stands::Open)]).await;
    let contest = Contest::begin(at_once(&["::1"]), at_once(&["127.0.0.2"]), LIMIT);
    assert_eq!(contest.winner(port).await.unwrap().to_string(), "127.0.0.2");
}

#[tokio::test]
async fn a_refused_address_gives_way_to_the_next() {
    let (port, _doors) = doors(&[
        ("::1", Stands::Refused),
        ("127.0.0.2", Stands::Refused),
        ("127.0.0.3", Stands::Open),
    ])
    .await;
    let v4 = at_once(&["127.0.0.2", "127.0.0.3"]);
    let contest = Contest::begin(at_once(&["::1"]), v4, LIMIT);
    assert_eq!(contest.winner(port).await.unwrap().to_string(), "127.0.0.3");
}

#[tokio::test]
async fn ipv6_that_is_answered_late_joins_the_race_and_wins_where_ipv4_is_dead() {
    let (port, _doors) = doors(&[
        ("::1", Stands::Open),
        ("127.0.0.2", Stands::Silent),
        ("127.0.0.3", Stands::Refused),
    ])
    .await;
    let late = async {
        sleep(Duration::from_millis(300)).await;
        Ok(addresses(&["::1"]))
    };
    let v4 = at_once(&["127.0.0.2", "127.0.0.3"]);
    let contest = Contest::begin(late, v4, LIMIT);
    assert_eq!(contest.winner(port).await.unwrap().to_string(), "::1");
}

#[tokio::test]
async fn a_question_that_is_never_answered_holds_up_neither_family() {
    let (port, _doors) = doors(&[
        ("::1", Stands::Open),
        ("127.0.0.2", Stands::Refused),
        ("127.0.0.3", Stands::Open),
    ])
    .await;
    let v4 = at_once(&["127.0.0.2", "127.0.0.3"]);
    let contest = Contest::begin(pending(), v4, LIMIT);
    assert_eq!(contest.winner(port).await.unwrap().to_string(), "127.0.0.3");
    let contest = Contest::begin(at_once(&["::1"]), pending(), LIMIT);
    assert_eq!(contest.winner(port).await.unwrap().to_string(), "::1");
    let v4 = at_once(&["127.0.0.2", "127.0.0.3"]);
    let contest = Contest::begin(pending(), v4, LIMIT);
    assert_eq!(
        contest.addresses().await.unwrap(),
        addresses(&["127.0.0.2", "127.0.0.3"])
    );
}

#[tokio::test]
async fn of_eight_addresses_the_one_that_works_is_found() {
    let stands = [
        ("127.0.0.1", Stands::Silent),
        ("127.0.0.2", Stands::Refused),
        ("127.0.0.3", Stands::Silent),
        ("127.0.0.4", Stands::Refused),
        ("127.0.0.5", Stands::Refused),
        ("127.0.0.6", Stands::Silent),
        ("127.0.0.7", Stands::Silent),
        ("127.0.0.8", Stands::Open),
    ];
    let (port, _doors) = doors(&stands).await;
    let contest = Contest::begin(at_once(&[]), at_once(&stands.map(|(at, _)| at)), LIMIT);
    assert_eq!(contest.winner(port).await.unwrap().to_string(), "127.0.0.8");
}

#[tokio::test]
async fn where_both_families_are_dead_both_are_named() {
    let (port, _doors) = doors(&[("::1", Stands::Refused), ("127.0.0.2", Stands::Silent)]).await;
    let limit = Duration::from_secs(1);
    let contest = Contest::begin(at_once(&["::1"]), at_once(&["127.0.0.2"]), limit);
    let lost = contest.winner(port).await.expect_err("nobody is there");
    let tried: Vec<String> = lost.tried.iter().map(TriedAddress::to_string).collect();
    assert_eq!(
        tried,
        [
            "::1: Connection refused (os error 111)",
            "127.0.0.2: no answer"
        ]
    );
    assert!(lost.unanswered.is_empty());
}

#[tokio::test]
async fn the_only_address_of_a_name_is_not_tried() {
    let (port, _doors) = doors(&[("127.0.0.2", Stands::Refused)]).await;
    let contest = Contest::begin(at_once(&[]), at_once(&["127.0.0.2"]), LIMIT);
    assert_eq!(contest.winner(port).await.unwrap().to_string(), "127.0.0.2");
}
