//! Symmetric switching, through the public interface.
#![allow(missing_docs)]

use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;

use fibra_context::symmetric::{self, Cx, Handover, SwitchError};

/// The classic two: 12, then over, 56, back, 34, then over again, 78.
fn classic(ends_by_switching: bool) -> Vec<u32> {
    let printed = Rc::new(RefCell::new(Vec::new()));
    let (one, two) = (Rc::clone(&printed), Rc::clone(&printed));
    symmetric::run(|hub| {
        let test1 = hub
            .add("test1", move |cx: &Cx<()>, ()| {
                let test2 = cx.find("test2").unwrap();
                one.borrow_mut().push(12);
                cx.switch_to(test2, ()).unwrap();
                one.borrow_mut().push(34);
                if ends_by_switching {
                    cx.switch_to(test2, ()).unwrap();
                    unreachable!("nobody switches back");
                }
                Handover::To(test2, ())
            })
            .unwrap();
        hub.add("test2", move |cx: &Cx<()>, ()| {
            two.borrow_mut().push(56);
            cx.switch_to(test1, ()).unwrap();
            two.borrow_mut().push(78);
            Handover::Main(())
        })
        .unwrap();
        hub.switch_to(test1, ()).unwrap();
    });
    printed.take()
}

#[test]
fn the_classic_two_print_12_56_34_78_with_a_successor() {
    assert_eq!(classic(false), [12, 56, 34, 78]);
}

#[test]
fn the_classic_two_print_12_56_34_78_by_switching() {
    assert_eq!(classic(true), [12, 56, 34, 78]);
}

#[test]
fn values_travel_with_the_switch() {
    let result = symmetric::run(|hub| {
        let adder = hub
            .add("adder", |cx: &Cx<u32>, mut value| {
                loop {
                    value = cx.switch_to(cx.main(), value + 1).unwrap();
                }
            })
            .unwrap();
        let doubler = hub.add("doubler", move |_: &Cx<u32>, value| Handover::To(adder, value * 2)).unwrap();
        let first = hub.switch_to(adder, 1).unwrap();
        let second = hub.switch_to(doubler, first).unwrap();
        assert!(hub.is_finished(doubler) && !hub.is_finished(adder));
        (first, second)
    });
    assert_eq!(result, (2, 5));
}

#[test]
fn a_finished_member_is_an_error_that_hands_the_value_back() {
    symmetric::run(|hub| {
        let brief = hub.add("brief", |_: &Cx<&str>, _| Handover::Main("done")).unwrap();
        assert_eq!(hub.switch_to(brief, "go"), Ok("done"));
        let error = hub.switch_to(brief, "again").unwrap_err();
        assert_eq!(error, SwitchError::Finished(brief, "again"));
        assert_eq!(error.to_string(), "member 1 of the hub has finished");
        let tries = hub
            .add("tries", move |cx: &Cx<&str>, _| {
                Handover::Main(cx.switch_to(brief, "still there?").unwrap_err().into_value())
            })
            .unwrap();
        assert_eq!(hub.switch_to(tries, ""), Ok("still there?"));
        let hands_over = hub.add("hands over", move |_: &Cx<&str>, _| Handover::To(brief, "lost")).unwrap();
        assert_eq!(hub.switch_to(hands_over, ""), Err(SwitchError::Finished(brief, "lost")));
    });
}

#[test]
fn a_member_of_another_hub_is_unknown() {
    symmetric::run(|hub| {
        let stranger =
            symmetric::run(|other| other.add("stranger", |_: &Cx<()>, ()| Handover::Main(())).unwrap());
        assert_eq!(hub.switch_to(stranger, ()), Err(SwitchError::Unknown(stranger, ())));
        assert_eq!(hub.find("stranger"), None);
    });
}

#[test]
fn a_switch_to_oneself_comes_back_at_once() {
    let heard = symmetric::run(|hub| {
        let own = hub
            .add("own", |cx: &Cx<u32>, value| Handover::Main(cx.switch_to(cx.id(), value + 1).unwrap()))
            .unwrap();
        hub.switch_to(own, 1).unwrap()
    });
    assert_eq!(heard, 2);
}

#[test]
fn members_can_add_members() {
    let heard = symmetric::run(|hub| {
        let parent = hub
            .add("parent", |cx: &Cx<u32>, value| {
                let back = cx.id();
                let child = cx.add("child", move |_: &Cx<u32>, value| Handover::To(back, value * 3)).unwrap();
                Handover::Main(cx.switch_to(child, value).unwrap() + 1)
            })
            .unwrap();
        hub.switch_to(parent, 5).unwrap()
    });
    assert_eq!(heard, 16);
}

#[test]
fn a_panic_comes_out_of_main_and_spares_the_others() {
    symmetric::run(|hub| {
        let broken =
            hub.add("broken", |_: &Cx<u32>, _| std::panic::resume_unwind(Box::new("inside"))).unwrap();
        let fine = hub
            .add("fine", move |cx: &Cx<u32>, value| {
                let value = cx.switch_to(cx.main(), value).unwrap();
                Handover::Main(value)
            })
            .unwrap();
        assert_eq!(hub.switch_to(fine, 1), Ok(1));
        let caught = catch_unwind(AssertUnwindSafe(|| hub.switch_to(broken, 2)));
        assert_eq!(caught.unwrap_err().downcast_ref(), Some(&"inside"));
        assert!(hub.is_finished(broken));
        assert_eq!(hub.switch_to(fine, 3), Ok(3));
    });
}

#[test]
fn members_still_waiting_are_unwound_when_the_hub_ends() {
    struct Count(Rc<Cell<u32>>);
    impl Drop for Count {
        fn drop(&mut self) {
            self.0.set(self.0.get() + 1);
        }
    }
    let dropped = Rc::new(Cell::new(0));
    symmetric::run(|hub| {
        for name in ["waits", "waits too"] {
            let on_stack = Count(Rc::clone(&dropped));
            let member = hub
                .add(name, move |cx: &Cx<()>, ()| {
                    let _on_stack = on_stack;
                    cx.switch_to(cx.main(), ()).unwrap();
                    unreachable!("nobody switches back");
                })
                .unwrap();
            hub.switch_to(member, ()).unwrap();
        }
        let never_began = Count(Rc::clone(&dropped));
        hub.add("never began", move |_: &Cx<()>, ()| {
            drop(never_began);
            Handover::Main(())
        })
        .unwrap();
        assert_eq!(dropped.get(), 0);
    });
    assert_eq!(dropped.get(), 3);
}
