//! Has the panel embedded anew when it was built anew. It builds nothing itself: `make` builds the panel before the program,
//! and a program built without it says so in its place.

#[allow(clippy::print_stdout, reason = "this is how a build script speaks to cargo")]
fn main() {
    println!("cargo::rerun-if-changed=../dashboard/dist");
}
