"""Sphinx settings: `make docs` builds the pages of this folder strictly, into _build/html.

What is generated (protos, errors, metrics, outputs of tutorials) is put into pages as they are
read, by the extension `cellkin_docs`; beside the sources are only `_build` and `reference/_api`.
"""

import sys
from importlib.metadata import version as version_of
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

project = "cellkin"
author = "the authors of cellkin"
project_copyright = "the authors of cellkin; Apache 2.0"
release = version = version_of("cellkin")

extensions = [
    "cellkin_docs",
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "sphinx_design",
]
root_doc = "index"
source_suffix = {".md": "markdown", ".rst": "restructuredtext"}
exclude_patterns = ["_build"]
templates_path = ["_templates"]

html_theme = "sphinx_book_theme"
html_title = "cellkin"
html_static_path = ["_static"]
html_css_files = ["cellkin.css"]
html_theme_options = {
    "show_navbar_depth": 1,
    "show_toc_level": 2,
    "collapse_navigation": True,  # the whole tree in every page takes most of the time
    "navbar_persistent": [],
    "use_download_button": False,
    "navigation_with_keys": False,
}
html_copy_source = False

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 4

# Names in docstrings stand in single backquotes; those of Python are links, others are emphasized.
default_role = "py:obj"
nitpicky = True
# Without the network there are no inventories of other projects.
nitpick_ignore_regex = [
    (r"py:(?!obj).*", r"(?!cellkin).*"),
    # Types of signatures that are no part of the public interface.
    (
        r"py:class",
        r"cellkin\.matrices\.(labels\.Labels|matrix\.Matrix|options\.ReadOptions|units\.UnitsFinding)",
    ),
    (r"py:class", r"cellkin\.(space\.reference\.Reference|v1\..*)"),
]
autosummary_ignore_module_all = False
autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented_params"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
napoleon_google_docstring = False
napoleon_use_rtype = False
copybutton_prompt_text = r"\$ |>>> "
copybutton_prompt_is_regexp = True
copybutton_line_continuation_character = "\\"
