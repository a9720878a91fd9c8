"""The site's pages that are not in docs/: README and the others at the root of the tree.

Links lead from file to file in the tree, so that they work there too. On the site the root's pages
and the files that pages link to stand beside the pages of docs/, and links are changed to match.
"""

import re
from pathlib import Path
from posixpath import dirname, relpath

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
#: Pages of the root, by their names on the site.
PAGES = {
    "index.md": "README.md",
    **{f"{name}.md": f"{name}.md" for name in ("ARCHITECTURE", "CHANGELOG", "CONTRIBUTING")},
    "SECURITY.md": "SECURITY.md",
    "typescript.md": "clients/typescript/README.md",
}
#: Folders of the root with files that pages link to.
FOLDERS = ("deploy", "docs/schemas", "examples")
_LINK = re.compile(r"\]\((?![a-z]+:|#|/)([^)\s#]*)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages of the root, and the files that pages link to."""
    for name, source in PAGES.items():
        files.append(File.generated(config, name, abs_src_path=str(ROOT / source)))
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*")):
            name = path.relative_to(ROOT).as_posix()
            if path.is_file() and not name.startswith("docs/"):
                files.append(File.generated(config, name, abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, *, page: Page, **_others: object) -> str:
    """Change links from where files are in the tree to where they are on the site."""
    place = page.file.src_uri
    here = dirname(PAGES.get(place, f"docs/{place}"))
    names = {source: name for name, source in PAGES.items()}

    def moved(link: re.Match[str]) -> str:
        target = (ROOT / here / link[1]).resolve()
        if not target.is_relative_to(ROOT):
            return link[0]
        name = target.relative_to(ROOT).as_posix()
        name = names.get(name, name.removeprefix("docs/"))
        if target.is_dir():  # a site lists no folders: its first file stands for it
            name = f"{name}/{min(path.name for path in target.iterdir())}"
        return f"]({relpath(name, dirname(place) or '.')}"

    return _LINK.sub(moved, markdown)
