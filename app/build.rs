//! On Windows the program carries its icon, name and version. Elsewhere there is nothing to do.

fn main() {
    println!("cargo::rerun-if-changed=../assets/icon/icon.ico");
    #[cfg(windows)]
    if let Err(error) = winresource::WindowsResource::new()
        .set_icon("../assets/icon/icon.ico")
        .set("ProductName", "Mergescope")
        .set("FileDescription", "Mergescope")
        .set("LegalCopyright", "Copyright (c) Mergescope contributors")
        .compile()
    {
        // The program works without: what compiles resources may be missing.
        println!("cargo::warning=no icon: {error}");
    }
}
