//! Reads a module library's declaration out of its ELF file, without loading it.

use object::read::elf::{ElfFile64, FileHeader as _};
use object::{Endianness, Object as _, ObjectSection as _, elf};

/// The section with the info JSON. The same name as the module API's `INFO_SECTION`.
const SECTION: &str = ".fleet_modinfo";

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum LibraryError {
    #[error("it is not an ELF shared library")]
    NotElf,
    #[error("it is built for {found}, this machine is {expected}")]
    Architecture {
        expected: &'static str,
        found: String,
    },
    #[error("it is cut off or damaged: {0}")]
    Damaged(String),
    #[error("it is not a Fleetwright module (it has no info section)")]
    NotAModule,
    #[error("its info is not readable: {0}")]
    Info(String),
}

/// The info JSON of a shared library for this machine.
pub fn read_info(library: &[u8]) -> Result<&[u8], LibraryError> {
    check_header(library)?;
    let damaged = |error: object::Error| LibraryError::Damaged(error.to_string());
    let file = ElfFile64::<Endianness>::parse(library).map_err(damaged)?;
    // The section headers lie at the end of the file: one that is cut off has lost them.
    if file.sections().next().is_none() {
        return Err(LibraryError::Damaged("it has no sections".to_owned()));
    }
    for section in file.sections() {
        section.data().map_err(damaged)?;
    }
    let section = file
        .section_by_name(SECTION)
        .ok_or(LibraryError::NotAModule)?;
    section.data().map_err(damaged)
}

fn check_header(library: &[u8]) -> Result<(), LibraryError> {
    if !library.starts_with(&elf::ELFMAG) {
        return Err(LibraryError::NotElf);
    }
    if library.get(4) != Some(&elf::ELFCLASS64) {
        return Err(LibraryError::Architecture {
            expected: HERE.name,
            found: "a 32-bit machine".to_owned(),
        });
    }
    let header = elf::FileHeader64::<Endianness>::parse(library)
        .map_err(|error| LibraryError::Damaged(error.to_string()))?;
    let endian = header
        .endian()
        .map_err(|error| LibraryError::Damaged(error.to_string()))?;
    let machine = header.e_machine(endian);
    if machine != HERE.machine {
        let known = KNOWN.iter().find(|known| known.machine == machine);
        let found = known.map_or_else(
            || format!("machine {machine}"),
            |known| known.name.to_owned(),
        );
        return Err(LibraryError::Architecture {
            expected: HERE.name,
            found,
        });
    }
    if header.e_type(endian) != elf::ET_DYN {
        return Err(LibraryError::NotElf);
    }
    Ok(())
}

struct Machine {
    machine: u16,
    name: &'static str,
}

const KNOWN: [Machine; 3] = [
    Machine {
        machine: elf::EM_X86_64,
        name: "x86_64",
    },
    Machine {
        machine: elf::EM_AARCH64,
        name: "aarch64",
    },
    Machine {
        machine: elf::EM_RISCV,
        name: "riscv64",
    },
];

#[cfg(target_arch = "x86_64")]
const HERE: Machine = Machine {
    machine: elf::EM_X86_64,
    name: "x86_64",
};
#[cfg(target_arch = "aarch64")]
const HERE: Machine = Machine {
    machine: elf::EM_AARCH64,
    name: "aarch64",
};
#[cfg(target_arch = "riscv64")]
const HERE: Machine = Machine {
    machine: elf::EM_RISCV,
    name: "riscv64",
};
