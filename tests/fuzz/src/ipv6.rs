//! What comes in on a link that has IPv6: router advertisements, and answers to a DHCPv6 client's questions.
//!
//! | property | because |
//! |---|---|
//! | name servers, domains and time servers are bounded and can work | the resolver takes them as they are |
//! | a message makes the client send at most one REQUEST | it must not be an amplifier |
//! | no wait is shorter than 0.9 s where it asks for something new, or longer than 18 s | no answer makes it spin or sleep for ever |
//! | the address is one that a machine can have | the kernel takes it as it is |
//! | a server's refusal on the console is words | it is printed |

use std::net::Ipv6Addr;
use std::time::{Duration, Instant};

use sealboot_init::net::from_the_link::Advertisement;
use sealboot_init::net::from_the_link::dhcp6::{Action, Client, Event, Purpose};

use super::Verdict;
use super::input::Input;

const MAC: [u8; 6] = [0x52, 0x54, 0, 0x12, 0x34, 0x56];
const EVENTS: usize = 64;

/// `A` and an ICMPv6 message; or `D` or `S` and events of a client that wants an address or settings.
pub fn run(bytes: &[u8]) -> Verdict {
    let mut input = Input::new(bytes);
    let purpose = match input.byte() {
        b'A' => return advertisement(input.rest()),
        b'S' => Purpose::Settings,
        _ => Purpose::Address,
    };
    let mut machine = Machine::new(purpose);
    for _ in 0..EVENTS {
        if input.is_empty() {
            break;
        }
        match input.byte() % 3 {
            0 => machine.wait(),
            1 => {
                let len = input.word();
                machine.hear(input.take(len));
            }
            _ => {
                let message = machine.answer(&mut input);
                machine.hear(&message);
            }
        }
    }
    if machine.bound {
        Verdict::Taken
    } else {
        Verdict::Refused
    }
}

fn advertisement(message: &[u8]) -> Verdict {
    let Some(said) = Advertisement::parse(message) else {
        return Verdict::Refused;
    };
    assert!(said.nameservers.len() <= 3 && said.nameservers.iter().all(can_be_asked));
    assert!(said.search.len() <= 6);
    Verdict::Taken
}

fn can_be_asked(address: &Ipv6Addr) -> bool {
    !address.is_unspecified() && !address.is_loopback() && !address.is_multicast()
}

struct Machine {
    client: Client<fn() -> u32>,
    now: Instant,
    xid: [u8; 3],
    bound: bool,
}

impl Machine {
    fn new(purpose: Purpose) -> Self {
        let now = Instant::now();
        let random = (|| 0x1234_5678) as fn() -> u32;
        Self {
            client: Client::new(MAC, "sealboot", purpose, now, random),
            now,
            xid: [0; 3],
            bound: false,
        }
    }

    fn wait(&mut self) {
        let Some(wake) = self.client.wake() else {
            assert!(self.client.handle(Event::Timer, self.now).is_none());
            return;
        };
        self.now = self.now.max(wake);
        match self.client.handle(Event::Timer, self.now) {
            Some(Action::Send(message)) => self.sent(&message),
            Some(Action::Lost) => self.bound = false,
            Some(Action::Bind(_)) => panic!("time alone is no lease"),
            None => panic!("a client that was woken has something to do"),
        }
    }

    fn hear(&mut self, message: &[u8]) {
        match self.client.handle(Event::Message(message), self.now) {
            None => {}
            Some(Action::Send(message)) => {
                assert_eq!(message[0], 3, "a REQUEST");
                self.sent(&message);
            }
            Some(Action::Lost) => panic!("an address is lost by time alone"),
            Some(Action::Bind(lease)) => {
                if let Some(address) = &lease.address {
                    assert!(can_be_asked(address) && !address.is_unicast_link_local());
                }
                let settings = &lease.settings;
                assert!(settings.nameservers.len() <= 3 && settings.ntp.len() <= 4);
                assert!(settings.search.len() <= 6);
                let mut servers = settings.nameservers.iter().chain(&settings.ntp);
                assert!(servers.all(can_be_asked));
                self.bound = true;
            }
        }
        if let Some(refused) = self.client.refused() {
            assert!(refused.len() <= 100 && !refused.contains(char::is_control));
        }
    }

    /// An answer as a server would make it, to this client and with the input's options.
    fn answer(&self, input: &mut Input<'_>) -> Vec<u8> {
        let mut message = vec![if input.byte().is_multiple_of(2) { 2 } else { 7 }];
        message.extend(self.xid);
        message.extend([0, 1, 0, 10, 0, 3, 0, 1]);
        message.extend(MAC);
        message.extend([0, 2, 0, 1, b's']);
        let len = input.word();
        message.extend_from_slice(input.take(len));
        message
    }

    fn sent(&mut self, message: &[u8]) {
        assert!((40..=300).contains(&message.len()));
        self.xid.copy_from_slice(&message[1..4]);
        // Renewals go by the times of the lease.
        if matches!(message[0], 1 | 3 | 11) {
            let wait = self
                .client
                .wake()
                .expect("it asks on")
                .saturating_duration_since(self.now);
            assert!(
                (Duration::from_millis(900)..=Duration::from_secs(18)).contains(&wait),
                "{wait:?}"
            );
        }
    }
}
