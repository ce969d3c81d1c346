//! Image GANs: trained on class folders, and asked for pictures by class.

use std::fs;
use std::path::Path;

use crate::support::{discs, picture, run, run_with};

const SMALL: &str = "--size 16 --set batch=8 --set hidden=8 --set noise=8 --threads 1 --kimg 0.08";

/// Discs in a folder for each class, named in two languages; one class has a single picture.
fn classes(folder: &Path) {
    discs(&folder.join("all"), 13);
    for (class, numbers) in [("red disc", &[0, 3, 6, 9][..]), ("绿盘", &[1, 4, 7, 10]), ("blue", &[2])] {
        fs::create_dir_all(folder.join("data").join(class)).unwrap();
        for i in numbers {
            let name = format!("{i}.png");
            fs::copy(folder.join("all").join(&name), folder.join("data").join(class).join(&name)).unwrap();
        }
    }
}

#[test]
fn class_folders_to_pictures_by_class() {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path();
    classes(folder);
    let ran = run(folder, &format!("train --recipe acgan {SMALL} --data data --out run")).good();
    assert!(ran.err.contains("9 pictures (RGBA) in 3 classes, from class folders"), "{}", ran.err);
    assert!(ran.err.contains("generate --class blue -n 8 --model run"), "{}", ran.err);
    assert!(ran.out.trim().ends_with(".png") && folder.join(ran.out.trim()).is_file(), "{}", ran.out);
    let config = fs::read_to_string(folder.join("run/config.toml")).unwrap();
    assert!(config.contains("by_class = true") && config.contains("recipe = \"acgan\""), "{config}");

    let ran = run_with(folder, "generate --model run -n 2 --class 绿盘 --class", &["red disc"]).good();
    assert_eq!(ran.paths(folder).len(), 5, "two of each and a sheet: {}", ran.out);
    let path = folder.join("painted/绿盘-s1-02.png");
    let one = picture(&path);
    assert_eq!((one.width, one.height, one.channels), (16, 16, 4));
    let again = run(folder, "generate --model run --json --class 绿盘 --truncation 0.5 --out other").good().json();
    assert_eq!(again["pictures"][0]["class"], "绿盘");
    let all = run(folder, "generate --model run --out all.png").good();
    assert_eq!(all.paths(folder), [folder.join("all.png")]);

    let bad = |args: &str, words: &[&str]| run(folder, &format!("generate --model run {args}")).bad(2, words);
    bad("--class bleu", &["--class bleu", "did you mean 'blue'", "绿盘"]);
    bad("disc", &["'disc'", "understands no sentences", "--class"]);
    bad("--truncation 0", &["0.01 to 100"]);
    run(folder, "evaluate --model run").bad(2, &["--features", "squeezenet1_0"]);

    let ran = run(folder, "train --resume run --kimg 0.12").good();
    assert!(ran.err.contains("resumed"), "{}", ran.err);

    // What fits of it starts another: larger pictures, other classes.
    let other = "train --recipe acgan --size 32 --set batch=8 --set hidden=8 --set noise=8 --threads 1 --kimg 0.04 \
        --data all --init-from run --out larger --set freeze=discriminator.downs.0";
    let ran = run(folder, other).good();
    assert!(ran.err.contains("generator   ") && ran.err.contains("tensors from run/checkpoints"), "{}", ran.err);
    run(folder, "train --recipe r3gan --data all --init-from run").bad(2, &["dcgan", "r3gan"]);
    run(folder, "train --recipe dcgan --data all --init-from all").bad(1, &["--init-from", "all"]);
}

#[test]
fn pictures_without_captions_or_classes_train_too() {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path();
    discs(&folder.join("data"), 9);
    fs::remove_file(folder.join("data/metadata.jsonl")).unwrap();
    let ran = run(folder, &format!("train --recipe wgan-gp {SMALL} --data data --out run")).good();
    assert!(ran.err.contains("9 pictures (RGBA); none skipped"), "{}", ran.err);
    let ran = run(folder, "generate --model run -n 3").good();
    assert_eq!(ran.paths(folder).len(), 4);
    run(folder, "generate --model run --class x").bad(2, &["without classes"]);
    let by_class = format!("train --recipe dcgan {SMALL} --data data --set by_class=true");
    run(folder, &by_class).bad(2, &["by_class", "has no classes"]);
}

#[test]
fn wrong_recipes_settings_and_sizes_say_what_fits() {
    let parent = tempfile::tempdir().unwrap();
    let bad = |args: &str, words: &[&str]| run(parent.path(), &format!("train {args}")).bad(2, words);
    bad("--recipe dcgna", &["--recipe", "did you mean 'dcgan'", "r3gan"]);
    bad("--recipe dcgan --size 48", &["size 48", "power of two"]);
    bad("--recipe sngan --size 256", &["size 256"]);
    bad("--recipe r3gan --size 33", &["33"]);
    bad("--recipe dcgan --size 32x64", &["square"]);
    bad("--recipe r3gan --set caption_columns=text", &["recipe r3gan", "unknown setting 'caption_columns'"]);
    bad("--recipe dcgan --set loss=best", &["loss", "hinge"]);
    bad("--recipe dcgan --set discriminator_norm=layer", &["discriminator_norm", "spectral"]);
    bad("--recipe dcgan --size 16 --set freeze=discriminator.dwons", &["discriminator.dwons", "discriminator.downs.0"]);
    bad("--recipe dcgan --size 16 --set rates={\"generator.up\"=2}", &["rates = 'generator.up'", "generator.ups.0"]);
    bad("--recipe projected --size 16", &["--backbone", "squeezenet1_0"]);
    bad("--recipe dcgan --size 16 --backbone absent.pth", &["absent.pth", "resnet18"]);
    bad("--recipe r3gan --size 16 --backbone absent.pth", &["r1 = 0.5", "--set r1=0"]);
    let dry = run(parent.path(), "train --recipe r3gan-ffhq256 --dry-run --json").good().json();
    assert_eq!(dry["settings"]["recipe"], "r3gan-ffhq256");
    assert_eq!(dry["parameters"]["generator"], 23_057_952, "table 2 of the paper");
}
