"""Prepare the pages for the site: the pages of the root, links that leave docs/, and the public names."""

import ast
import re
from functools import partial
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
ROOT_PAGES = {"README.md": "index.md", "CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md"}
PUBLIC_NAMES = "<!-- public names -->"
LINK = re.compile(r"(!?\[[^\]]*\])\(([^)\s]+)\)")
RESOURCE = re.compile(r"""<(?:script|link|img|iframe)\b[^>]*?(?:src|href)=["']?https?:|url\(["']?https?:""")
EXTERNAL = ("http://", "https://", "#")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the Markdown files of the root as pages."""
    for source, page in ROOT_PAGES.items():
        text = LINK.sub(lambda link: f"{link[1]}({rebase_link(link[2])})", (ROOT / source).read_text(encoding="utf-8"))
        files.append(File.generated(config, page, content=text))
    return files


def rebase_link(target: str) -> str:
    """Convert a link from the root into one from docs/."""
    if target.startswith(EXTERNAL):
        return target
    return target.removeprefix("docs/") if target.startswith("docs/") else ROOT_PAGES.get(target, f"../{target}")


def on_page_markdown(markdown: str, page: Page, **_: object) -> str:
    """Link root pages by their names on the site, and show a link to a file outside docs/ as plain text."""
    up = "../" * page.file.src_uri.count("/")  # from the page's folder to docs/
    references = "\n".join(f"::: moodline.{name}" for name in read_public_names())
    return LINK.sub(partial(convert_link, up=up), markdown).replace(PUBLIC_NAMES, references)


def on_post_build(config: MkDocsConfig) -> None:
    """Refuse a page or style sheet that loads something from a network."""
    for path in sorted(Path(config.site_dir).rglob("*")):
        if path.suffix in (".html", ".css") and (found := RESOURCE.search(path.read_text(encoding="utf-8"))):
            raise PluginError(f"{path} loads {found[0]}...; the site must work offline")


def convert_link(link: re.Match[str], *, up: str) -> str:
    text, target, root = link[1], link[2], f"{up}../"
    if not target.startswith(root):
        return link[0]
    page = ROOT_PAGES.get(target.removeprefix(root))
    return f"{text}({up}{page})" if page else text[1:-1]


def read_public_names() -> list[str]:
    """List the names of ``moodline.__all__``, without importing the package."""
    for node in ast.parse((ROOT / "src" / "moodline" / "__init__.py").read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return [name for name in ast.literal_eval(node.value) if not name.startswith("__")]
    raise LookupError("src/moodline/__init__.py has no __all__")
