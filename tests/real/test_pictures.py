"""The screenshots of the README can be taken again."""

from pathlib import Path

from playwright.async_api import Browser

from tests.real.pictures import FOLDER, take


async def test_screenshots_of_the_readme_are_taken_and_small(browser: Browser, tmp_path: Path) -> None:
    taken = await take(browser, tmp_path)
    assert sorted(file.name for file in taken) == sorted(file.name for file in FOLDER.glob("*.png"))
    for file in taken:
        assert file.read_bytes().startswith(b"\x89PNG")
        assert file.stat().st_size < 150_000
