"""What the pages share: their templates, and the two scripts that they may run and no other."""

from __future__ import annotations

import base64
import hashlib
from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs


def fill(template: str, **values: object) -> str:
    """The text of a page. Beside `values`, its template sees `plotly`, `script` and `allowed`."""
    return _environment().get_template(template).render(**_scripts(), **values)


def only_these_scripts(*scripts: str) -> str:
    """What a content security policy allows: scripts of these contents."""
    digests = (hashlib.sha256(script.encode("utf-8")).digest() for script in scripts)
    return " ".join(f"'sha256-{base64.b64encode(digest).decode('ascii')}'" for digest in digests)


@cache
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("archscout.report", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


@cache
def _scripts() -> dict[str, str]:
    environment = _environment()
    script = environment.loader.get_source(environment, "page.js")[0]  # type: ignore[union-attr]
    plotly = get_plotlyjs()
    return {
        "plotly": Markup(plotly),  # noqa: S704 - the two scripts are ours
        "script": Markup(script),  # noqa: S704
        "allowed": only_these_scripts(plotly, script),
    }
