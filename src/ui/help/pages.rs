//! What the help says, topic by topic.

use crate::ui::i18n::gettext;

/// A page of the help.
pub struct Page {
    /// What it is about.
    pub topic: Topic,
    /// Its heading.
    pub title: String,
    /// What it looks like in the list.
    pub icon: &'static str,
    /// What it says.
    pub parts: Vec<Part>,
}

/// What a page is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Topic {
    /// How a guest is made.
    FirstGuest,
    /// How a guest's window is used.
    Screen,
    /// Where data lies.
    Disks,
    /// What guests can reach.
    Networks,
    /// Viewers that come over a network.
    Sharing,
    /// The same from a shell.
    Shell,
    /// What to do when something does not work.
    Trouble,
}

/// A part of a page.
pub enum Part {
    /// A paragraph.
    Text(String),
    /// Things to do, one after the other.
    Steps(Vec<String>),
    /// Commands for a shell.
    Commands(&'static str),
}

/// All pages, in order.
pub fn pages() -> [Page; 7] {
    [first_guest(), screen(), disks(), networks(), sharing(), shell(), trouble()]
}

fn first_guest() -> Page {
    Page {
        topic: Topic::FirstGuest,
        title: gettext("Your First Guest"),
        icon: "lodge-guest-symbolic",
        parts: vec![
            Part::Text(gettext(
                "A guest is a computer of its own in a window of this one, with its own memory, disks and network. Operating systems for PCs are installed on it as on any other computer.",
            )),
            Part::Steps(vec![
                gettext("Download the image of an operating system: an ISO file."),
                gettext(
                    "Press “New Guest” (Ctrl+N), choose how to begin, and name the file. You can drop it onto the guest list, too.",
                ),
                gettext(
                    "Choose memory, virtual CPUs, a network and the size of the disk. What is proposed suits most systems.",
                ),
                gettext("Give the guest a name. Its window opens, and the system’s own installation begins."),
            ]),
            Part::Text(gettext(
                "Closing its window or quitting Lodge leaves a guest running; the next start of Lodge finds it again. Shut it down in its own system, or with the button in its window.",
            )),
            Part::Text(gettext(
                "Nothing downloaded yet? “Try the Test Card” in the main menu makes a guest that needs no system: it shows colours, the keys that you press and the pointer.",
            )),
        ],
    }
}

fn screen() -> Page {
    Page {
        topic: Topic::Screen,
        title: gettext("Screen and Keyboard"),
        icon: "video-display-symbolic",
        parts: vec![
            Part::Text(gettext(
                "Click into the guest’s screen to give it the keyboard: now it gets every key, those of the desktop too. The line below the screen says which keys let the keyboard go. They are left Ctrl and left Alt together, unless you prefer others.",
            )),
            Part::Text(gettext(
                "Shortcuts of a guest’s window carry Ctrl+Shift and act once the keyboard is let go; Ctrl+? lists them. The preferences can have them act at any time.",
            )),
            Part::Text(gettext(
                "Full screen (Ctrl+Shift+Enter) gives the guest all of the display. Move the pointer to the top edge for the menu and the way back.",
            )),
            Part::Text(gettext(
                "The picture is scaled to the window unless you switch that off in the window’s menu. With the graphics card virtio-gpu, which is chosen under “Display” in the details, the guest’s screen takes the size of the window.",
            )),
            Part::Text(gettext(
                "Text that is copied in one can be pasted in the other while the guest has the keyboard, if the package spice-vdagent is installed in the guest. “Type Clipboard as Keys” works in every guest.",
            )),
            Part::Text(gettext(
                "Ctrl+Shift+Delete presses Ctrl+Alt+Delete in the guest. Other keys that the desktop may keep for itself are under “Send Other Keys” in the window’s menu. With the desktop’s sticky keys, modifiers can be pressed one after the other.",
            )),
        ],
    }
}

fn disks() -> Page {
    Page {
        topic: Topic::Disks,
        title: gettext("Disks and Snapshots"),
        icon: "drive-harddisk-symbolic",
        parts: vec![
            Part::Text(gettext(
                "A guest’s disk is a file in a pool, which takes as much room as the guest has written. “Storage” in the main menu shows the pools, what room they have, and which guests need each disk.",
            )),
            Part::Text(gettext(
                "“Add Hardware” in the details of a guest gives it disks and CD-ROM drives. “Grow” makes a disk larger, while the guest runs, too; make its partitions and file systems larger in the guest afterwards.",
            )),
            Part::Text(gettext(
                "A snapshot is a moment that the guest can go back to, before an update or an experiment: its disks, and its memory if it runs. Going back loses what the guest has written since, unless you take another snapshot first.",
            )),
            Part::Text(gettext(
                "“Save State” ends a guest and keeps its memory. At its next start it goes on where it was.",
            )),
            Part::Text(gettext(
                "A clone is another guest like the first one. Without copies of the disks it is made at once and takes little room, but needs the disks that it is based on.",
            )),
            Part::Text(gettext(
                "Deleted guests are kept for a week under “Deleted Guests” in the main menu. Snapshots and clones are no backup: copy what matters to another disk.",
            )),
        ],
    }
}

fn networks() -> Page {
    Page {
        topic: Topic::Networks,
        title: gettext("Networks"),
        icon: "network-wired-symbolic",
        parts: vec![
            Part::Text(gettext(
                "A new guest reaches what this computer reaches, by address translation (NAT), and nobody reaches the guest. To let others in, forward a port on the page of its network card in the details.",
            )),
            Part::Text(gettext("For example, port 2222 of this computer can lead to the SSH server of the guest:")),
            Part::Commands("lodgectl network forward add NAME 2222:22\nssh -p 2222 localhost"),
            Part::Text(gettext("Guests in the same isolated network see each other and nothing else.")),
            Part::Text(gettext(
                "In a bridge the guest is a computer of your own network, with an address from there. Bridges, and networks for several guests with addresses and names, are made by root; “Networks” in the main menu shows those that there are.",
            )),
            Part::Text(gettext(
                "A card can be connected to something else while the guest runs, as if its cable were moved.",
            )),
        ],
    }
}

fn sharing() -> Page {
    Page {
        topic: Topic::Sharing,
        title: gettext("Sharing the Screen"),
        icon: "network-transmit-receive-symbolic",
        parts: vec![
            Part::Text(gettext(
                "“Show on the Network” in the menu of a guest’s window lets VNC viewers see and drive the guest until you stop it or close the window. Tell them the address and the password that are shown.",
            )),
            Part::Text(gettext(
                "To show the screen whenever the guest runs, choose that under “Display” in the details. It applies at once.",
            )),
            Part::Text(gettext(
                "With TLS all is encrypted. Compare the fingerprint that the viewer shows with the one that Lodge shows: if they are the same, nobody is in between. Let viewers without TLS in from this computer only.",
            )),
        ],
    }
}

fn shell() -> Page {
    Page {
        topic: Topic::Shell,
        title: gettext("Lodge in a Shell"),
        icon: "utilities-terminal-symbolic",
        parts: vec![
            Part::Text(gettext(
                "Everything can be done with lodgectl, too, by hand and in scripts. It works on the same guests.",
            )),
            Part::Commands(
                "lodgectl list --all\nlodgectl start NAME\nlodgectl console NAME\nlodgectl snapshot create NAME before\nlodgectl stats --watch\nlodgectl edit NAME\nlodgectl shutdown NAME",
            ),
            Part::Text(gettext(
                "“lodgectl --help” lists all commands, and with a command’s name it explains that one. Queries answer in JSON with --json.",
            )),
        ],
    }
}

fn trouble() -> Page {
    Page {
        topic: Topic::Trouble,
        title: gettext("Troubleshooting"),
        icon: "dialog-question-symbolic",
        parts: vec![
            Part::Text(gettext(
                "“Host Check” in the main menu says what this computer has, what it lacks, and how to mend that.",
            )),
            Part::Text(gettext(
                "There is no /dev/kvm: switch on virtualization (VT-x, AMD-V or SVM) in the computer’s firmware settings, and load the module kvm_intel or kvm_amd. If this computer is a virtual machine itself, its host has to allow virtual machines inside of it.",
            )),
            Part::Commands("sudo modprobe kvm_intel || sudo modprobe kvm_amd"),
            Part::Text(gettext("You may not use /dev/kvm: join the group kvm, then log out and in again.")),
            Part::Commands("sudo usermod -aG kvm $USER"),
            Part::Text(gettext(
                "The guest finds no system: see whether the disc is in its drive, and what comes first under “Boot” in the details.",
            )),
            Part::Text(gettext(
                "The guest does not answer: “Force Off” is like pulling its plug; what it has not written yet is lost.",
            )),
            Part::Text(gettext(
                "The guest is paused because its disk is full on the host: make room there and let it run on. It has lost nothing.",
            )),
            Part::Text(gettext("The guest has crashed: the list and its window say why.")),
        ],
    }
}
