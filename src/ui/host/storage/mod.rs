//! The storage page: the pools with their room, and the disks in them.

mod pool;
mod questions;

use std::{cell::RefCell, path::PathBuf, rc::Rc};

use adw::prelude::*;
use lodge::manager::pool::{DEFAULT, PoolInfo, Target, Volume};

use self::{
    pool::{Asked, PoolGroup, PoolRequest, VolumeRequest},
    questions::Arrival,
};
use crate::ui::{
    backend::{Backend, PoolView},
    choosers, dialogs,
    i18n::{gettext, gettext_f},
    operations::{Place, on_tokio},
    readings::Readings,
    widgets::text_button::TextButton,
};

/// The endings of files that can be imported.
const IMAGES: [&str; 4] = ["qcow2", "raw", "img", "vmdk"];

/// The page. Clones are the same one.
#[derive(Clone)]
pub struct StoragePage(Rc<Inner>);

struct Inner {
    backend: Backend,
    place: Place,
    page: adw::PreferencesPage,
    groups: RefCell<Vec<PoolGroup>>,
    pools: RefCell<Vec<PoolView>>,
    /// An answer that is late is not shown.
    readings: Readings,
}

impl StoragePage {
    /// The page; it is empty until [`StoragePage::reload`].
    pub fn new(backend: &Backend, place: &Place) -> Self {
        let inner = Inner {
            backend: backend.clone(),
            place: place.clone(),
            page: adw::PreferencesPage::new(),
            groups: RefCell::default(),
            pools: RefCell::default(),
            readings: Readings::default(),
        };
        let page = Self(Rc::new(inner));
        let add = gtk::Button::builder().valign(gtk::Align::Center).build();
        add.set_button_text(&gettext("_Add Pool…"));
        let weak = Rc::downgrade(&page.0);
        add.connect_clicked(move |_| {
            if let Some(inner) = weak.upgrade() {
                Self(inner).spawn(|page| async move { page.add_pool().await });
            }
        });
        let head = adw::PreferencesGroup::builder()
            .title(gettext("Storage"))
            .description(gettext("Where the disks of guests are kept"))
            .header_suffix(&add)
            .build();
        page.0.page.add(&head);
        page
    }

    /// The page's widget.
    pub fn widget(&self) -> &adw::PreferencesPage {
        &self.0.page
    }

    /// Looks at the pools again.
    pub fn reload(&self) {
        let reading = self.0.readings.begin();
        let (weak, backend) = (Rc::downgrade(&self.0), self.0.backend.clone());
        relm4::spawn_local(async move {
            let read = on_tokio(async move { backend.pools_with_volumes().await }).await;
            let Some(page) = weak.upgrade().map(Self).filter(|_| reading.is_newest()) else { return };
            match read {
                Ok(pools) => page.show(pools),
                Err(error) => page.0.place.complain(&gettext("The Pools Cannot Be Read"), &error),
            }
        });
    }

    fn show(&self, pools: Vec<PoolView>) {
        let inner = &self.0;
        // A host's free room is another one every second. Rows stay as long as they can: they may have the keyboard.
        if is_same_but_for_room(&inner.pools.borrow(), &pools) {
            inner.groups.borrow().iter().zip(&pools).for_each(|(group, view)| group.show_room(&view.info));
            inner.pools.replace(pools);
            return;
        }
        inner.groups.borrow_mut().drain(..).for_each(|group| inner.page.remove(&group.widget));
        for view in &pools {
            let weak = Rc::downgrade(inner);
            let group = PoolGroup::new(view, move |asked| {
                if let Some(inner) = weak.upgrade() {
                    Self(inner).spawn(|page| async move { page.asked(asked).await });
                }
            });
            inner.page.add(&group.widget);
            inner.groups.borrow_mut().push(group);
        }
        inner.pools.replace(pools);
    }

    /// Does something and looks at the pools afterwards.
    fn spawn<F: Future<Output = ()> + 'static>(&self, work: impl FnOnce(Self) -> F) {
        let (page, work) = (self.clone(), work(self.clone()));
        relm4::spawn_local(async move {
            work.await;
            page.reload();
        });
    }

    async fn asked(&self, asked: Asked) {
        match asked {
            Asked::Pool(PoolRequest::NewVolume, pool) => self.new_volume(pool).await,
            Asked::Pool(PoolRequest::Import, pool) => self.import(pool).await,
            Asked::Pool(PoolRequest::Remove, pool) => self.remove_pool(pool).await,
            Asked::Volume(VolumeRequest::Grow, volume) => self.grow(volume).await,
            Asked::Volume(VolumeRequest::Copy, volume) => self.copy(volume).await,
            Asked::Volume(VolumeRequest::Check, volume) => self.check(volume, false).await,
            Asked::Volume(VolumeRequest::Delete, volume) => self.delete(volume).await,
        }
    }

    /// The pools that can be used.
    fn usable(&self) -> Vec<PoolInfo> {
        let pools = self.0.pools.borrow();
        pools.iter().filter(|view| view.info.problem.is_none()).map(|view| view.info.clone()).collect()
    }

    async fn add_pool(&self) {
        let (place, backend) = (&self.0.place, self.0.backend.clone());
        let infos: Vec<_> = self.0.pools.borrow().iter().map(|view| view.info.pool.clone()).collect();
        let groups = relm4::spawn(async move { backend.volume_groups().await }).await.unwrap_or_default();
        let is_pool = |group: &String| infos.iter().any(|pool| pool.target == Target::VolumeGroup(group.clone()));
        let groups = groups.into_iter().filter(|group| !is_pool(group)).collect();
        let taken = infos.iter().map(|pool| pool.name.clone()).collect();
        let Some((name, target)) = questions::ask_pool(&place.window, groups, taken).await else { return };
        self.add(name, target).await;
    }

    async fn add(&self, name: String, target: Target) {
        let (backend, added) = (self.0.backend.clone(), name.clone());
        if let Err(error) = on_tokio(async move { backend.add_pool(added, target).await }).await {
            self.0.place.complain(&gettext_f("The Pool “{name}” Could Not Be Added", &[("name", &name)]), &error);
        }
    }

    async fn remove_pool(&self, pool: PoolInfo) {
        let (place, name) = (&self.0.place, pool.pool.name);
        let names = [("name", name.as_str()), ("place", &pool.pool.target.place())];
        let heading = gettext_f("Remove the Pool “{name}”?", &names);
        let message = gettext_f("Nothing in {place} is deleted, and guests keep their disks there.", &names);
        if !dialogs::confirm(&place.window, &heading, &message, &gettext("_Remove")).await {
            return;
        }
        let (backend, removed) = (self.0.backend.clone(), name.clone());
        if let Err(error) = on_tokio(async move { backend.remove_pool(removed).await }).await {
            place.complain(&gettext_f("The Pool “{name}” Could Not Be Removed", &names), &error);
        }
    }

    async fn new_volume(&self, pool: PoolInfo) {
        let (place, backend) = (&self.0.place, self.0.backend.clone());
        let Some(new) = questions::ask_volume(&place.window, &pool).await else { return };
        let name = new.name.clone();
        let names = [("name", name.as_str())];
        let doing = gettext_f("Creating “{name}”…", &names);
        let call = |_| async move { backend.create_volume(pool.pool.name, new).await };
        if let Some(Err(error)) = place.run_long(&doing, false, call).await {
            place.complain(&gettext_f("“{name}” Could Not Be Created", &names), &error);
        }
    }

    async fn grow(&self, volume: Volume) {
        let (place, backend) = (&self.0.place, self.0.backend.clone());
        let Some(size) = dialogs::ask_size(&place.window, &volume.name, volume.capacity).await else { return };
        let name = volume.name.clone();
        let names = [("name", name.as_str())];
        let doing = gettext_f("Growing “{name}”…", &names);
        let call = |progress| async move { backend.grow_volume(volume.pool, volume.name, size, progress).await };
        if let Some(Err(error)) = place.run_long(&doing, true, call).await {
            place.complain(&gettext_f("“{name}” Could Not Be Grown", &names), &error);
        }
    }

    async fn delete(&self, volume: Volume) {
        let place = &self.0.place;
        let name = volume.name.clone();
        let names = [("name", name.as_str())];
        if volume.users.is_empty() {
            let heading = gettext_f("Delete “{name}”?", &names);
            let path = volume.path.display().to_string();
            let message = gettext_f("{path} is deleted for good, with all that is in it.", &[("path", &path)]);
            if !dialogs::confirm(&place.window, &heading, &message, &gettext("_Delete")).await {
                return;
            }
        }
        // One that is used, the manager refuses to delete, and says why.
        let backend = self.0.backend.clone();
        let call = async move { backend.delete_volume(volume.pool, volume.name).await };
        if let Err(error) = on_tokio(call).await {
            place.complain(&gettext_f("“{name}” Could Not Be Deleted", &names), &error);
        }
    }

    async fn import(&self, pool: PoolInfo) {
        let kind = choosers::Kind { name: gettext("Disk images"), endings: &IMAGES };
        let window = &self.0.place.window;
        let chosen = choosers::choose_file(window, &gettext("Import Image"), &gettext("_Choose"), kind).await;
        if let Some(source) = chosen {
            self.bring(source, &pool.pool.name, None).await;
        }
    }

    async fn copy(&self, volume: Volume) {
        self.bring(volume.path.clone(), DEFAULT, Some(volume)).await;
    }

    /// Asks how the image at `source` is to come into a pool, and brings it there.
    async fn bring(&self, source: PathBuf, into: &str, volume: Option<Volume>) {
        let place = &self.0.place;
        let asked = questions::ask_import(&place.window, self.usable(), into, &source, volume.as_ref()).await;
        let (pool, import) = match asked {
            None => return,
            Some(Arrival::InPlace(name, folder)) => return self.add(name, Target::Path(folder)).await,
            Some(Arrival::Copied(pool, import)) => (pool, import),
        };
        let file = source.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let names = [("name", file.as_str())];
        let doing = gettext_f("Copying “{name}”…", &names);
        let backend = self.0.backend.clone();
        let call = |progress| async move { backend.import_volume(pool, import, progress).await };
        match place.run_long(&doing, true, call).await {
            Some(Ok(())) => place.toast(&gettext_f("“{name}” was copied", &names)),
            Some(Err(error)) => place.complain(&gettext_f("“{name}” Could Not Be Copied", &names), &error),
            None => place.toast(&gettext_f("“{name}” was not copied", &names)),
        }
    }

    /// Checks a volume; what can be mended is mended after a question.
    async fn check(&self, volume: Volume, mend: bool) {
        let (place, backend) = (&self.0.place, self.0.backend.clone());
        let name = volume.name.clone();
        let names = [("name", name.as_str())];
        let doing = if mend {
            gettext_f("Mending “{name}”…", &names)
        } else {
            gettext_f("Checking “{name}”…", &names)
        };
        let checked = volume.clone();
        let call = |progress| async move { backend.check_volume(checked, mend, progress).await };
        let report = match place.run_long(&doing, true, call).await {
            Some(Ok(report)) => report,
            Some(Err(error)) => {
                return place.complain(&gettext_f("“{name}” Could Not Be Checked", &names), &error);
            }
            None => return,
        };
        let words = questions::words_about_check(&report);
        if report.is_clean() || report.damage > 0 || mend {
            dialogs::error(&place.window, &gettext_f("“{name}” Was Checked", &names), &words);
            return;
        }
        let heading = gettext_f("Mend “{name}”?", &names);
        if dialogs::confirm(&place.window, &heading, &words, &gettext("_Mend")).await {
            Box::pin(self.check(volume, true)).await;
        }
    }
}

fn is_same_but_for_room(shown: &[PoolView], pools: &[PoolView]) -> bool {
    let same = |(one, other): (&PoolView, &PoolView)| {
        one.volumes == other.volumes && one.info.pool == other.info.pool && one.info.problem == other.info.problem
    };
    shown.len() == pools.len() && shown.iter().zip(pools).all(same)
}
