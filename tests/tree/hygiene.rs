//! That nothing of one machine gets into the tree.

use crate::{assert_none, files};

#[test]
fn no_file_names_a_path_of_the_machine_it_was_written_on() {
    // Put together here, so that this file does not name it either.
    let needle = ["", "work", ""].join("/");
    let found = files().into_iter().filter(|file| file.text.contains(&needle)).map(|file| file.path);
    assert_none("a path of one machine", &found.collect::<Vec<_>>());
}

#[test]
fn no_test_is_switched_off() {
    let needle = ["#[ig", "nore"].concat();
    let found = files().into_iter().filter(|file| file.path.ends_with(".rs") && file.text.contains(&needle));
    assert_none(
        "a test that cannot run says so when it runs",
        &found.map(|file| file.path).collect::<Vec<_>>(),
    );
}
