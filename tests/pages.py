"""Pages as a browser shows them, for the tests that write one."""

import re
import shutil
import subprocess
from pathlib import Path

BROWSER = shutil.which("chromium")

LARGEST = 3_000_000
"""Bytes of a page."""

LOADS = re.compile(r"""(?:src|href)=["'](?!data:|#)|url\((?!#|data:|["']?#)|@import|fetch\(""")
"""What would make a browser ask for something."""


def check_page(page: Path, folder: Path) -> str:
    """Check that a page is small, asks for nothing, and is shown without a complaint.

    Args:
        page: The page.
        folder: A folder for what the browser remembers.

    Returns:
        What the browser makes of it; where there is no browser, what is in the file.
    """
    text = page.read_text()
    assert len(text.encode()) < LARGEST
    assert not LOADS.search(text), LOADS.search(text)
    if BROWSER is None:
        return text
    drawn, complaints = shown_by_a_browser(page, folder)
    assert not complaints
    return drawn


def shown_by_a_browser(page: Path, folder: Path) -> tuple[str, list[str]]:
    """Return what a browser makes of a page, and what is wrong: complaints, and what it asked for.

    No name leads anywhere. What the browser asks for by itself is not the page's: in the browser's
    record of requests its initiator is "not an origin".
    """
    assert BROWSER is not None
    quiet = "--no-first-run --disable-background-networking --disable-component-update"
    record = folder / "requests.json"
    done = subprocess.run(
        [
            *(BROWSER, "--headless", "--no-sandbox", "--disable-gpu", *quiet.split()),
            *("--disable-sync", f"--user-data-dir={folder}", "--enable-logging=stderr"),
            *("--host-resolver-rules=MAP * ~NOTFOUND", f"--log-net-log={record}"),
            *("--virtual-time-budget=1000", "--dump-dom", page.as_uri()),
        ],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    complaints = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    requests = [line for line in record.read_text().splitlines() if '"url":"http' in line]
    asked = [line for line in requests if '"initiator":' in line and "not an origin" not in line]
    return done.stdout, complaints + asked
