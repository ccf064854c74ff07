"""Brings the pages outside docs/ into the site, and keeps the links between all of them.

A hook of mkdocs. A page keeps its links as they serve in the repository. On the site a page of
docs/ lies at the top, README is the home page, other pages lie as in the repository, and a linked
file that is no page becomes one, under source/, that shows it.
"""

import posixpath
import re
from pathlib import Path, PurePosixPath
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
BROUGHT = ("CONTRIBUTING.md", "CHANGELOG.md", "validation/*.md", "validation/figures/*")
LANGUAGES = {".py": "python", ".toml": "toml", ".h": "c", ".c": "c"}
_FENCE = re.compile(r"^ {0,3}```.*?^ {0,3}```[ \t]*$", re.DOTALL | re.MULTILINE)
_LINK = re.compile(r"(\]\()([^)\s]+)(\))")
_LIST_AFTER_TEXT = re.compile(
    r"^(?!\s*(?:[-*]|\d+\.) |\s*$|\s)(.+)\n(?=(?:[-*]|1\.) )", re.MULTILINE
)


def on_files(files: Any, config: Any) -> Any:
    """Adds the pages that lie outside docs/, and the files that any page links to."""
    from mkdocs.structure.files import File

    for pattern in BROUGHT:
        for path in sorted(ROOT.glob(pattern)):
            name = path.relative_to(ROOT).as_posix()
            files.append(File.generated(config, name, abs_src_path=str(path)))
    for page in list(files.documentation_pages()):
        for target in linked(page.content_string, repository_path(page.src_uri)):
            if is_shown_as_source(target) and files.get_file_from_path(site_path(target)) is None:
                files.append(File.generated(config, site_path(target), content=source_page(target)))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """The page's text with links as the site has them."""
    if page.file.src_uri.startswith("source/"):
        return markdown
    return for_site(markdown, page.file.src_uri)


def for_site(markdown: str, src_uri: str) -> str:
    """The text of the page ``src_uri`` of the site; fenced blocks stay as they are."""
    start, parts = 0, []
    for fence in _FENCE.finditer(markdown):
        parts += [_prose(markdown[start : fence.start()], src_uri), fence.group()]
        start = fence.end()
    return "".join([*parts, _prose(markdown[start:], src_uri)])


def _prose(text: str, src_uri: str) -> str:
    # GitHub begins a list right after a paragraph, Python-Markdown after an empty line only.
    text = _LIST_AFTER_TEXT.sub(r"\1\n\n", text)
    return _LINK.sub(lambda m: m[1] + _link(m[2], src_uri) + m[3], text)


def _link(link: str, src_uri: str) -> str:
    path, hash_, anchor = link.partition("#")
    if not path or "://" in link or link.startswith("mailto:"):
        return link
    target = _join(repository_path(src_uri), path)
    if target.startswith("..") or not (ROOT / target).exists():
        return link  # mkdocs reports it
    return posixpath.relpath(site_path(target), posixpath.dirname(src_uri) or ".") + hash_ + anchor


def linked(markdown: str, path: str) -> list[str]:
    """Existing files and folders of the repository that the page at ``path`` links to."""
    prose = _FENCE.sub("", markdown)
    targets = (m[2].partition("#")[0] for m in _LINK.finditer(prose) if "://" not in m[2])
    found = {_join(path, target) for target in targets if target}
    return sorted(t for t in found if not t.startswith("..") and (ROOT / t).exists())


def _join(page: str, target: str) -> str:
    return posixpath.normpath(posixpath.join(posixpath.dirname(page), target))


def repository_path(src_uri: str) -> str:
    """Where the site's page or figure lies in the repository."""
    return src_uri if (ROOT / src_uri).exists() else f"docs/{src_uri}"


def site_path(path: str) -> str:
    """Where the site has what lies at ``path`` in the repository."""
    if path == "README.md":
        return "index.md"
    if path.startswith("docs/"):
        return path.removeprefix("docs/")
    return f"source/{path}.md" if is_shown_as_source(path) else path


def is_shown_as_source(path: str) -> bool:
    """Whether the site shows the file, or lists the folder, on a page made for it."""
    if path == "README.md" or path.startswith("docs/"):
        return False
    return not any(PurePosixPath(path).match(pattern) for pattern in BROUGHT)


def source_page(path: str) -> str:
    """A page that shows a file of the repository, or lists a folder."""
    head = f"---\nsearch:\n  exclude: true\n---\n\n# {path}\n\n"
    place = ROOT / path
    if place.is_dir():
        names = sorted(p.name for p in place.iterdir() if not p.name.startswith(("_", ".")))
        return head + "".join(f"- `{name}`\n" for name in names)
    language = LANGUAGES.get(place.suffix, "text")
    return f"{head}````{language}\n{place.read_text(encoding='utf-8')}\n````\n"
