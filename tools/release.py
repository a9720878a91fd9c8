"""Build what a release consists of in `dist/`, and try it in clean folders: `make release`.

Wheels, sdists and the npm package, an SBOM of each distribution, the documentation as a site, and
the hashes of all. Dependencies come from the package index, in the versions of constraints.txt.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from importlib.metadata import distributions
from pathlib import Path

from hatch_version import version

ROOT = Path(__file__).parents[1]
DIST = ROOT / "dist"
VERSION = version()
NPM = ROOT / "clients/typescript"
NOTHING: Mapping[str, str] = {}
#: The folder of each distribution, by its name in files.
PROJECTS = {"runqueue": ".", "runqueue_server": "runqueue-server"}


def say(text: str) -> None:
    """Print what was done."""
    sys.stdout.write(f"release: {text}\n")
    sys.stdout.flush()


def run(*command: str | Path, cwd: Path = ROOT, environ: Mapping[str, str] = NOTHING) -> str:
    """Run a command that has to succeed, without settings of ours; return what it wrote.

    Args:
        command: the program, and its arguments.
        cwd: the working directory.
        environ: the environment besides.
    """
    ours = ("RUNQUEUE_", "SKYVERN_", "PYTHON")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    done = subprocess.run(  # noqa: S603 - our own commands
        command, cwd=cwd, env={**kept, **environ}, capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(f"release: {' '.join(map(str, command))}:\n{done.stdout}{done.stderr}")
    return done.stdout


def python(module: str, *arguments: str | Path) -> str:
    """Run a module as a command of our own interpreter."""
    return run(sys.executable, "-m", module, *arguments, environ={"NO_MKDOCS_2_WARNING": "1"})


def install(folder: Path, *wanted: str) -> Path:
    """Install files of `dist/` into a new environment; return where its programs are.

    Args:
        folder: of the environment.
        wanted: each a file, with extras.
    """
    python("venv", "--without-pip", folder)
    pip = ("pip", "--python", str(folder / "bin/python"))
    pinned = ("--constraint", str(ROOT / "constraints.txt"))
    python(*pip, "install", "--quiet", *pinned, *(f"{DIST}/{name}" for name in wanted))
    origins = folder.glob("lib/python*/site-packages/runqueue*.dist-info/direct_url.json")
    found = [json.loads(path.read_text())["archive_info"]["hashes"]["sha256"] for path in origins]
    ours = [digest(DIST / name.partition("[")[0]) for name in wanted]
    if sorted(found) != sorted(ours):
        sys.exit(f"release: {folder.name} has other files of ours than it was given")
    return folder / "bin"


def digest(file: Path) -> str:
    """Return a file's SHA-256."""
    return hashlib.sha256(file.read_bytes()).hexdigest()


def built(name: str, ending: str) -> str:
    """Return the name of a distribution's file."""
    (found,) = DIST.glob(f"{name}-*{ending}")
    return found.name


def needs(wheel: str) -> tuple[str, list[str]]:
    """Return what a wheel may bring with it, as pip takes it (`[cli,http]`), and all it needs."""
    (found,) = distributions(path=[str(DIST / wheel)])
    extras = sorted(set(found.metadata.get_all("Provides-Extra", ())) - {"dev"})
    required = (line.partition(";") for line in found.requires or ())
    return f"[{','.join(extras)}]", [what for what, _, when in required if "'dev'" not in when]


def write_sbom(name: str, programs: Path) -> None:
    """Write what an environment has as the CycloneDX SBOM of a distribution, with its extras."""
    project = programs.parent / "pyproject.toml"
    project.write_text(
        f'[project]\nname = "{name.replace("_", "-")}"\nversion = "{VERSION}"\n'
        f'license = "Apache-2.0"\ndependencies = {needs(built(name, ".whl"))[1]}\n'
    )
    sbom = DIST / f"{name}-{VERSION}.cdx.json"
    python(
        *("cyclonedx_py", "environment", "--output-reproducible", "--pyproject", project),
        *("--output-file", sbom, programs / "python"),
    )
    text = sbom.read_text().replace(f"{DIST.as_uri()}/", "")  # where it was installed from
    sbom.write_text(text)


def build() -> None:
    """Build the sdists, and wheels of these, so without git."""
    for folder in PROJECTS.values():
        python("build", "--no-isolation", "--outdir", DIST, ROOT / folder)
    python("twine", "check", "--strict", *sorted(DIST.iterdir()))
    say(f"two wheels and two sdists of {VERSION}, which twine accepts")


def name_repository(package: Path) -> None:
    """Write the workflow's repository, if any, into a package.json: npm compares provenance."""
    if repository := os.environ.get("GITHUB_REPOSITORY"):
        about = json.loads(package.read_text())
        url = f"git+https://github.com/{repository}.git"
        about["repository"] = {"type": "git", "url": url, "directory": "clients/typescript"}
        package.write_text(json.dumps(about, indent=2))


def build_npm(made: Path, empty: Path) -> None:
    """Build the npm package, with the version of the others, and use it in an empty folder."""
    shutil.copytree(NPM, made, ignore=shutil.ignore_patterns("node_modules", "build", "dist"))
    name_repository(made / "package.json")
    run("npm", "ci", cwd=made)
    semantic = VERSION.replace(".dev0", "-dev").replace("+", ".")  # npm drops what follows a +
    run("npm", "version", "--no-git-tag-version", semantic, cwd=made)
    run("npm", "pack", "--pack-destination", DIST, cwd=made)  # runs `prepack`, which compiles
    (package,) = DIST.glob("*.tgz")
    run("npm", "install", package, cwd=empty)
    code = "import('runqueue-client').then((it) => console.log(typeof it.RunqueueClient))"
    if run("node", "--eval", code, cwd=empty).strip() != "function":
        sys.exit("release: the npm package has no RunqueueClient")
    say(f"npm package, installed and imported in an empty folder: {package.name}")


def say_version(programs: Path, empty: Path) -> None:
    """Have the installed command say its version, which has to be the one that was built."""
    shown = run(programs / "runqueue", "--version", cwd=empty).strip()
    if shown != f"runqueue {VERSION}":
        sys.exit(f"release: {programs.parent.name} say {shown}")
    say(f"{programs.parent.name}, in a new environment and an empty folder: {shown}")


def try_wheels(folder: Path, empty: Path) -> None:
    """Install the wheels, write the SBOM of each environment, and run jobs to their ends."""
    alone, server = (built(name, ".whl") for name in PROJECTS)
    write_sbom("runqueue", install(folder / "producer", alone + needs(alone)[0]))
    programs = install(folder / "wheels", alone, server + needs(server)[0])
    write_sbom("runqueue_server", programs)
    say_version(programs, empty)
    settings = {"PATH": f"{programs}:{os.environ['PATH']}", "RUNQUEUE_METRICS_PORT": "0"}
    demo = run(programs / "runqueue", "demo", cwd=empty, environ=settings)
    say(" ".join(next(line for line in demo.splitlines() if "each exactly one" in line).split()))


def main() -> None:
    """Fill `dist/`, and try what is in it."""
    if shutil.which("npm") is None:
        sys.exit("release: npm is missing: install Node 20.6 or later")
    shutil.rmtree(DIST, ignore_errors=True)
    DIST.mkdir()
    build()
    with tempfile.TemporaryDirectory(prefix="runqueue-release-") as made:
        folder = Path(made)
        for name in ("for-wheels", "for-sdists", "for-npm"):
            (folder / name).mkdir()
        try_wheels(folder, folder / "for-wheels")
        sdists = (built(name, ".tar.gz") for name in PROJECTS)  # pip builds each by itself
        say_version(install(folder / "sdists", *sdists), folder / "for-sdists")
        build_npm(folder / "npm", folder / "for-npm")
        python("mkdocs", "build", "--strict", "--quiet", "--site-dir", folder / "site")
        shutil.make_archive(f"{DIST}/runqueue-docs-{VERSION}", "zip", folder / "site")
    files = sorted(DIST.iterdir())
    sums = "".join(f"{digest(file)}  {file.name}\n" for file in files)
    (DIST / "SHA256SUMS").write_text(sums)
    say(f"an SBOM of each, the site and SHA256SUMS: {len(files) + 1} files in dist/\n{sums}")


if __name__ == "__main__":
    main()
