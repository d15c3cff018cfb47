//! What the host check found: a window with everything that was looked at, what is wrong first, and how to mend it.

use adw::prelude::*;
use gtk::accessible::Property;
use lodge::manager::host::{Finding, Verdict};

use crate::ui::{
    i18n::{gettext, gettext_f, ngettext_f},
    widgets::info_bar::Notice,
    wording,
};

/// The notice for the main window, if the host lacks anything that guests need.
pub fn notice(findings: &[Finding]) -> Option<Notice> {
    let missing: Vec<_> = findings.iter().filter(|finding| finding.verdict == Verdict::Missing).collect();
    let text = match missing.as_slice() {
        [] => return None,
        [finding] => {
            gettext_f("Guests cannot run: {name}: {detail}", &[("name", &finding.name), ("detail", &finding.detail)])
        }
        several => {
            let count = u32::try_from(several.len()).unwrap_or(u32::MAX);
            ngettext_f(
                "Guests cannot run: {n} thing is missing",
                "Guests cannot run: {n} things are missing",
                count,
                &[],
            )
        }
    };
    Some(Notice { text, button: gettext("_Details"), grave: true })
}

/// Shows the findings.
pub fn present(parent: &impl IsA<gtk::Window>, findings: &[Finding]) {
    let page = adw::PreferencesPage::new();
    let groups = [
        (Verdict::Missing, gettext("Guests Cannot Run Without These")),
        (Verdict::Limited, gettext("Guests Run, but Not as Well as They Could")),
        (Verdict::Fine, gettext("In Order")),
    ];
    for (verdict, title) in groups {
        let rows: Vec<_> = findings.iter().filter(|finding| finding.verdict == verdict).map(row).collect();
        if !rows.is_empty() {
            let group = adw::PreferencesGroup::builder().title(title).build();
            rows.iter().for_each(|row| group.add(row));
            page.add(&group);
        }
    }
    let content = gtk::Box::new(gtk::Orientation::Vertical, 0);
    content.append(&adw::HeaderBar::new());
    content.append(&page);
    page.set_vexpand(true);
    let window = adw::Window::builder()
        .title(gettext("Host Check"))
        .transient_for(parent)
        .modal(true)
        .destroy_with_parent(true)
        .default_width(600)
        .default_height(560)
        .content(&content)
        .build();
    let weak = window.downgrade();
    crate::ui::actions::add_key(&window, gtk::gdk::Key::Escape, move || {
        if let Some(window) = weak.upgrade() {
            window.close();
        }
    });
    window.present();
}

fn row(finding: &Finding) -> adw::ActionRow {
    let texts = [&finding.detail, &finding.mend].into_iter().filter(|text| !text.is_empty());
    let subtitle = texts.map(|text| wording::sentence(text)).collect::<Vec<_>>().join("\n");
    let row = adw::ActionRow::builder()
        .title(&finding.name)
        .subtitle(&subtitle)
        .use_markup(false)
        .subtitle_lines(0)
        .focusable(true)
        .build();
    let (icon, class) = match finding.verdict {
        Verdict::Fine => ("emblem-ok-symbolic", "success"),
        Verdict::Limited => ("dialog-warning-symbolic", "warning"),
        Verdict::Missing => ("dialog-error-symbolic", "error"),
    };
    let verdict = wording::verdict(finding.verdict);
    let image = gtk::Image::builder().icon_name(icon).css_classes([class]).tooltip_text(&verdict).build();
    image.update_property(&[Property::Label(&verdict)]);
    row.add_prefix(&image);
    row.update_property(&[Property::Label(&format!("{}: {verdict}", finding.name)), Property::Description(&subtitle)]);
    row
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(name: &str, verdict: Verdict) -> Finding {
        Finding { id: "test", name: name.into(), verdict, detail: "it is not there".into(), mend: "load kvm".into() }
    }

    #[test]
    fn what_is_only_limited_makes_no_notice() {
        assert_eq!(notice(&[finding("KSM", Verdict::Limited), finding("KVM", Verdict::Fine)]), None);
    }

    #[test]
    fn one_fault_is_named_and_several_are_counted() {
        let one = notice(&[finding("/dev/kvm", Verdict::Missing)]).unwrap();
        let two = notice(&[finding("/dev/kvm", Verdict::Missing), finding("Firmware", Verdict::Missing)]).unwrap();

        assert_eq!(one.text, "Guests cannot run: /dev/kvm: it is not there");
        assert_eq!(two.text, "Guests cannot run: 2 things are missing");
    }
}
