//! Has the panel embedded anew when it was built anew. It builds nothing itself: `make` builds the panel before the program,
//! and a program built without it says so in its place.
//!
//! And picks from Swagger UI the files that its page loads: what else comes with it are the same programs in forms that
//! nobody asks for, four megabytes of them.

use std::io::Cursor;
use std::path::Path;
use zip::result::ZipResult;
use zip::{ZipArchive, ZipWriter};

/// What `index.html` of Swagger UI loads.
const PAGES: [&str; 9] = [
    "favicon-16x16.png",
    "favicon-32x32.png",
    "index.css",
    "index.html",
    "oauth2-redirect.html",
    "oauth2-redirect.js",
    "swagger-ui-bundle.js",
    "swagger-ui-standalone-preset.js",
    "swagger-ui.css",
];

#[allow(clippy::print_stdout, reason = "this is how a build script speaks to cargo")]
fn main() {
    println!("cargo::rerun-if-changed=../dashboard/dist");
    println!("cargo::rerun-if-changed=build.rs");
    let place = std::env::var_os("OUT_DIR").expect("cargo names a directory");
    let picked = pick().expect("Swagger UI is a whole archive");
    std::fs::write(Path::new(&place).join("swagger-ui.zip"), picked)
        .expect("the directory can be written to");
}

/// The files as they are, in an archive of their own.
fn pick() -> ZipResult<Vec<u8>> {
    let mut all = ZipArchive::new(Cursor::new(utoipa_swagger_ui_vendored::SWAGGER_UI_VENDORED))?;
    let mut picked = ZipWriter::new(Cursor::new(Vec::new()));
    for name in PAGES {
        let end = format!("/dist/{name}");
        let index = all
            .file_names()
            .position(|path| path.is_ok_and(|path| path.ends_with(&end)))
            .ok_or(zip::result::ZipError::FileNotFound)?;
        picked.raw_copy_file_rename(all.by_index_raw(index)?, name)?;
    }
    Ok(picked.finish()?.into_inner())
}
