//! Which locks, and which guards, may go to another thread or be shared with one: known when this compiles.

use fibra::sync::{
    ArcMutexGuard, Condvar, LazyLock, MappedMutexGuard, Mutex, MutexGuard, Once, OnceLock, ReentrantMutex,
    ReentrantMutexGuard, RwLock, RwLockReadGuard, RwLockUpgradableReadGuard, RwLockWriteGuard,
};
use std::cell::Cell;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::rc::Rc;

/// May be sent, and not be shared.
type SendOnly = Cell<u32>;
/// May be shared, and not be sent.
type SyncOnly = std::sync::MutexGuard<'static, u32>;
/// Neither.
type Neither = Rc<u32>;

const fn is_send<T: ?Sized + Send>() {}
const fn is_sync<T: ?Sized + Sync>() {}
const fn is_both<T: ?Sized + Send + Sync>() {}
const fn is_unwind_safe<T: ?Sized + UnwindSafe + RefUnwindSafe>() {}

/// Does not compile for a type that is: two impls fit then, and the compiler cannot say which is meant.
macro_rules! is_not {
    ($bound:ident: $($type:ty),+ $(,)?) => {$(
        const _: () = {
            trait Ambiguous<A> {
                fn meant() {}
            }
            impl<T: ?Sized> Ambiguous<()> for T {}
            struct Fits;
            impl<T: ?Sized + $bound> Ambiguous<Fits> for T {}
            const _: fn() = <$type as Ambiguous<_>>::meant;
        };
    )+};
}

const _: () = {
    is_both::<Once>();
    is_both::<Condvar>();

    is_both::<Mutex<SendOnly>>();
    is_both::<Mutex<dyn Send>>();
    is_send::<MutexGuard<'static, SendOnly>>();
    is_both::<MutexGuard<'static, u32>>();
    is_send::<MappedMutexGuard<'static, SendOnly>>();
    is_send::<ArcMutexGuard<SendOnly>>();
    is_both::<ArcMutexGuard<u32>>();

    is_send::<RwLock<SendOnly>>();
    is_both::<RwLock<u32>>();
    is_both::<RwLock<dyn Send + Sync>>();
    is_both::<RwLockReadGuard<'static, u32>>();
    is_both::<RwLockUpgradableReadGuard<'static, u32>>();
    is_both::<RwLockWriteGuard<'static, u32>>();

    is_both::<ReentrantMutex<SendOnly>>();
    is_both::<ReentrantMutex<dyn Send>>();
    is_sync::<ReentrantMutexGuard<'static, u32>>();

    is_send::<OnceLock<SendOnly>>();
    is_both::<OnceLock<u32>>();
    is_send::<LazyLock<SendOnly>>();
    is_both::<LazyLock<u32, Box<dyn FnOnce() -> u32 + Send>>>();

    is_unwind_safe::<Once>();
    is_unwind_safe::<OnceLock<u32>>();
    is_unwind_safe::<LazyLock<u32>>();
};

is_not!(Send: Mutex<Neither>, MutexGuard<'static, SyncOnly>, MutexGuard<'static, Neither>);
is_not!(Sync: Mutex<Neither>, Mutex<SyncOnly>, MutexGuard<'static, SendOnly>);
is_not!(Send: MappedMutexGuard<'static, SyncOnly>, ArcMutexGuard<SyncOnly>, ArcMutexGuard<Neither>);
is_not!(Sync: MappedMutexGuard<'static, SendOnly>, ArcMutexGuard<SendOnly>, ArcMutexGuard<Neither>);

is_not!(Send: RwLock<SyncOnly>, RwLockReadGuard<'static, SendOnly>, RwLockWriteGuard<'static, SyncOnly>);
is_not!(Send: RwLockUpgradableReadGuard<'static, SyncOnly>, RwLockUpgradableReadGuard<'static, SendOnly>);
is_not!(Sync: RwLock<SendOnly>, RwLock<SyncOnly>, RwLockReadGuard<'static, SendOnly>);
is_not!(Sync: RwLockWriteGuard<'static, SendOnly>, RwLockUpgradableReadGuard<'static, SendOnly>);

is_not!(Send: ReentrantMutex<SyncOnly>, ReentrantMutexGuard<'static, u32>);
is_not!(Sync: ReentrantMutex<SyncOnly>, ReentrantMutexGuard<'static, SendOnly>);

is_not!(Send: OnceLock<SyncOnly>, LazyLock<SyncOnly>, LazyLock<u32, Box<dyn FnOnce() -> u32>>);
is_not!(Sync: OnceLock<SendOnly>, OnceLock<SyncOnly>, LazyLock<SendOnly>, LazyLock<u32, Box<dyn FnOnce() -> u32>>);

/// A cell that is dropped after what it refers to, as std's may be: it has no destructor of its own.
#[test]
fn a_value_may_borrow_from_what_is_dropped_before_its_place() {
    let place = OnceLock::new();
    let text = String::from("borrowed");
    assert_eq!(place.set(text.as_str()), Ok(()));
    assert_eq!(place.get(), Some(&"borrowed"));
}

#[test]
fn unsized_data_is_locked_too() {
    let mutex: &Mutex<[u32]> = &Mutex::new([1, 2]);
    mutex.lock()[0] = 3;
    assert_eq!(*mutex.lock(), [3, 2]);
    let lock: Box<RwLock<dyn Fn() -> u32 + Send + Sync>> = Box::new(RwLock::new(|| 7));
    assert_eq!((lock.read())(), 7);
    let reentrant: &ReentrantMutex<[u32]> = &ReentrantMutex::new([1]);
    assert_eq!(reentrant.lock().len(), 1);
}
