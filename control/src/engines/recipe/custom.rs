//! The recipe an operator wrote: an image for a platform, arguments, memory, a folder. Pure.

use super::{Recipe, Style};
use crate::docker::Folder;
use crate::engines::caches::Cache;

/// What an image runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Platform {
    /// 64-bit PCs.
    Amd64,
    /// 32-bit ARM.
    Arm32,
    /// 64-bit ARM.
    Arm64,
}

/// A recipe of the operator's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Custom {
    /// What engines of it are labelled with: the template's name, or the platform's.
    pub name: String,
    /// Which image.
    pub platform: Platform,
    /// Version of the ARM images.
    pub arm_version: String,
    /// Arguments, each flag and each value a word.
    pub arguments: Vec<String>,
    /// Memory limit of an engine, which beats the general one; `Some(None)` is none.
    pub memory_bytes: Option<Option<u64>>,
    /// A folder of the host every engine sees.
    pub folder: Option<Folder>,
    /// Where engines keep what they have received.
    pub cache: Cache,
}

impl Custom {
    /// What engines are made from.
    pub(crate) fn recipe(&self) -> Recipe {
        let command = || {
            let start = ["python", "main.py"].map(str::to_owned).into_iter();
            Style::Command(start.chain(self.arguments.iter().cloned()).collect())
        };
        let arm = |platform: &str| format!("jopsis/acestream:{platform}-v{}", self.arm_version);
        let (image, style) = match self.platform {
            Platform::Amd64 => {
                ("jopsis/acestream:x64".to_owned(), Style::ArgumentsVariable(self.arguments.join(" ")))
            }
            Platform::Arm32 => (arm("arm32"), command()),
            Platform::Arm64 => (arm("arm64"), command()),
        };
        Recipe { name: self.name.clone(), image, style, has_api_port: false, cache: self.cache.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guards the image and the form of the arguments on each platform.
    #[test]
    fn each_platform_has_its_image_and_form() {
        let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        for (platform, image, style) in [
            (
                Platform::Amd64,
                "jopsis/acestream:x64",
                Style::ArgumentsVariable("--bind-all --live-buffer 10".to_owned()),
            ),
            (
                Platform::Arm32,
                "jopsis/acestream:arm32-v3.2.14",
                Style::Command(words("python main.py --bind-all --live-buffer 10")),
            ),
            (
                Platform::Arm64,
                "jopsis/acestream:arm64-v3.2.14",
                Style::Command(words("python main.py --bind-all --live-buffer 10")),
            ),
        ] {
            let custom = Custom {
                name: "mine".to_owned(),
                platform,
                arm_version: "3.2.14".to_owned(),
                arguments: words("--bind-all --live-buffer 10"),
                memory_bytes: None,
                folder: None,
                cache: Cache::Memory,
            };
            let recipe = custom.recipe();
            assert_eq!((recipe.name.as_str(), recipe.image.as_str()), ("mine", image));
            assert_eq!(recipe.style, style);
            assert!(!recipe.has_api_port);
        }
    }
}
