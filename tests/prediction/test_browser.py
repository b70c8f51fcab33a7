"""The page in a real browser, opened from the disk as a user does."""

import json
import re
from pathlib import Path

import pytest
from predicted_scans import (
    HOSTILE,
    LONG,
    MARKUP,
    summary,
    write_long_scan,
    write_plain_scan,
)

from ct_lesion.prediction.page import write_index

pytest.importorskip("selenium")
from browser_page import CHROMIUM, DRIVER, Page, start_browser
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.actions.wheel_input import ScrollOrigin
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

if not (CHROMIUM and DRIVER):
    pytest.skip(
        "no browser: the page is not tried without chromium and chromedriver "
        "(Debian: apt-get install chromium chromium-driver)",
        allow_module_level=True,
    )


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("a folder") / "results & more #1"
    output.mkdir()
    summaries = [
        write_long_scan(output),
        write_plain_scan(output, HOSTILE, 1, notes=[MARKUP], source=MARKUP, patient=MARKUP),
        write_plain_scan(output, "scan 10", 2),
        write_plain_scan(output, "scan 9", 3, incomplete=True),
        summary("lost", 7),  # its folder is missing
    ]
    for made in summaries:
        (output / made["scan"]).mkdir(exist_ok=True)
        (output / made["scan"] / "summary.json").write_text(json.dumps(made))
    write_index(output, summaries, model={MARKUP: MARKUP}, generated="2026-11-24")
    return output


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory):
    driver = start_browser(tmp_path_factory.mktemp("browser"))
    yield driver
    driver.quit()


@pytest.fixture
def page(driver, output):
    driver.get_log("browser")
    yield Page(driver, output)
    # one test expects a missing view.js; any other console message is an error
    messages = [entry["message"] for entry in driver.get_log("browser")]
    assert not [text for text in messages if "lost/view" not in text]


def test_the_table_lists_and_sorts_scans_by_any_column(page, output):
    page.open()
    heads = page.texts(".scans thead th")
    assert heads == [
        *("Scan", "Status", "Class", "Probability", "Slices", "Lesion volume (ml)"),
        *("Lesions", "Slices with lesion", "Share of lung", "Notes"),
    ]
    # natural order: 9 before 10
    assert page.names() == [HOSTILE, LONG, "lost", "scan 9", "scan 10"]
    assert page.texts("#scans td:nth-child(2)") == ["–", "–", "–", "incomplete", "–"]
    buttons = page.driver.find_elements(By.CSS_SELECTOR, ".scans thead button")
    buttons[heads.index("Slices")].click()
    assert page.texts("#scans td:nth-child(5)") == ["300", "7", "3", "2", "1"]
    assert page.find(".scans th:nth-child(5)").get_attribute("aria-sort") == "descending"
    buttons[heads.index("Slices")].click()
    assert page.texts("#scans td:nth-child(5)") == ["1", "2", "3", "7", "300"]
    for _ in range(2):  # rows without a value stay at the bottom in both directions
        buttons[heads.index("Lesion volume (ml)")].click()
        assert page.names()[0] == LONG
    page.find("#filter").send_keys("SCAN 1")
    assert page.names() == ["scan 10"]
    assert set(page.requested()) == {"index.html", f"{LONG}/view/thumbnail.jpg"}


def test_a_row_opens_the_scan_and_the_back_button_the_table(page):
    page.open()
    page.find(f"tr[data-scan='{LONG}'] td:nth-child(2)").click()
    page.wait_for_slice(140)  # the slice with the largest lesion area is shown first
    assert page.run("return location.hash").startswith("#scan=long%20scan")
    page.driver.back()
    page.wait_until(page.names)
    assert page.run("return document.activeElement.textContent") == LONG
    page.driver.forward()
    page.wait_for_slice(140)
    page.press(Keys.ESCAPE)
    page.wait_until(page.names)


def test_numbers_are_those_of_the_summary(page, output):
    summary = json.loads((output / LONG / "summary.json").read_text())
    page.open_scan(LONG)
    facts = page.facts()
    name, certainty = facts["Class"].split(", probability ")
    assert name == summary["class"] and float(certainty) == summary["probabilities"][name]
    assert facts["Lesion volume"] == f"{summary['lesion_volume_ml']:.1f} ml"
    assert facts["Share of lung"] == "12.3 %"
    assert page.find("#headline").text == (
        f"{name} ({certainty}) · 2 lesions · {facts['Lesion volume']} · 12.3 % of the lungs"
    )
    assert facts["Lesions"] == "2 (40 detections in slices)"
    assert facts["Slices with lesion"] == "40 of 300 (slices 101 to 140)"
    assert facts["Voxel"] == "2.00 × 1.00 × 5.00 mm" and facts["Slice size"] == "48 × 32 px"
    assert page.texts(".bar.scan .value") == ["0.200", "0.300", "0.500"]
    assert page.texts(".caution li") == ["Warning: slices 5 mm apart"]
    # slice 140: a square of 13 pixels of 2 mm2
    assert page.find("#readout").text == "Slice 140 of 300 · z −695.0 mm · IM139"
    assert page.texts(".detections button") == ["1. GGO\nscore 0.64\n338 mm²"]
    assert page.texts(".bar.slice .value") == ["0.125", "0.250", "0.625"]
    assert "maximum 338 mm², slice 140" in page.find(".area").text
    assert "For research use only. Not for clinical use." in page.find(".disclaimer").text
    assert "2026-11-24" in page.find(".made").text


def test_slices_are_reached_by_keys_slider_wheel_curve_and_buttons(page):
    page.open_scan(LONG)
    for key, slice_number in (
        (Keys.ARROW_RIGHT, 141),
        (Keys.ARROW_UP, 140),
        (Keys.PAGE_DOWN, 150),
        ("p", 140),
        ("p", 139),
        ("n", 140),
        (Keys.HOME, 1),
        (Keys.ARROW_LEFT, 1),
        ("n", 101),
        (Keys.END, 300),
        ("m", 140),
    ):
        page.press(key)
        page.wait_for_slice(slice_number)
        assert page.find("#readout b").text == f"Slice {slice_number} of 300"
    page.find("#slice").send_keys(Keys.ARROW_RIGHT)  # one slice also with the slider focussed
    page.wait_for_slice(141)
    page.run(
        "const slider = document.getElementById('slice'); slider.value = 20;"
        "slider.dispatchEvent(new Event('input'))"
    )
    page.wait_for_slice(20)
    assert page.texts(".bar.slice .value") == ["0.750", "0.250", "0.000"]
    page.find("#next-lesion").click()
    page.wait_for_slice(101)
    page.find("#most-lesion").click()
    page.wait_for_slice(140)
    stage = page.find(".stage")
    wheel = ScrollOrigin.from_element(stage)
    ActionChains(page.driver).scroll_from_origin(wheel, 0, 120).perform()
    page.wait_for_slice(141)
    plot = page.find(".plot")
    ActionChains(page.driver).move_to_element(plot).click().perform()
    page.wait_until(lambda: page.shown_slice() in (150, 151))  # the middle of 300
    page.wait_until(lambda: re.search("&slice=15[01]$", page.run("return location.hash")))


def test_contours_are_toggled_and_scores_shown_by_mouse_and_keyboard(page):
    page.open_scan(LONG)
    line = page.find(".stage .line")
    assert line.is_displayed()
    ActionChains(page.driver).move_to_element(line).perform()
    assert page.find(".tip").text == "1. GGO · score 0.64 · 338 mm²"
    assert page.find(".detections li").get_attribute("class") == "marked"
    ActionChains(page.driver).move_to_element(page.find("h1")).perform()
    assert not page.find(".tip").is_displayed()
    page.run("document.querySelector('.detections button').focus()")
    assert page.find(".tip").is_displayed()
    page.find("#contours").click()
    assert not line.is_displayed() and not page.find(".tip").is_displayed()
    assert page.find("#contours").get_attribute("aria-pressed") == "false"
    page.press(Keys.ARROW_LEFT)
    page.wait_for_slice(139)
    assert not page.find(".stage .line").is_displayed()  # hidden in other slices too
    page.press("c")
    assert page.find(".stage .line").is_displayed()

    # the table of lesions: a click goes to the largest slice and marks the lesion in all slices
    row = "#lesions tbody tr"
    assert page.texts("#lesions thead th")[:4] == ["No.", "Class", "Vol. ml", "Size mm"]
    assert page.texts(f"{row} td:nth-child(4)") == ["26 × 13"] * 2
    page.find("#lesions th:nth-child(3) button").click()
    page.find("#lesions th:nth-child(3) button").click()
    assert page.texts(f"{row} td:nth-child(1)") == ["2", "1"]
    page.find(f"{row}[data-number='2']").click()
    page.wait_for_slice(113)
    assert page.find(".stage .detection").get_attribute("class") == "detection marked"
    assert page.find(".tip").text.startswith("2. GGO")
    second = page.find(".stage .line").get_attribute("stroke")
    page.press(Keys.ARROW_LEFT)
    page.wait_for_slice(112)
    assert page.find(".stage .line").get_attribute("stroke") == second
    assert page.find(".stage .detection").get_attribute("class") == "detection marked"
    page.find(f"{row}[data-number='1'] button").click()
    page.wait_for_slice(140)
    assert page.find(".stage .line").get_attribute("stroke") != second


def test_only_needed_images_of_300_slices_are_loaded(page):
    page.open_scan(LONG)
    page.press(Keys.ARROW_RIGHT)
    page.wait_for_slice(141)
    page.press(Keys.ARROW_LEFT)
    page.wait_for_slice(140)
    asked = page.requested()
    images = {int(Path(url).stem) for url in asked if url.endswith(".jpg")}
    assert {140, 141} <= images <= set(range(130, 150)), "the slices shown and a few around them"
    assert {url for url in asked if not url.endswith(".jpg")} == {
        "index.html",
        f"{LONG}/view/view.js",
    }
    assert all(url.startswith(f"{LONG}/view/lung/") for url in asked if url.endswith(".jpg"))
    page.run(  # the slider moves through all slices at once
        "const slider = document.getElementById('slice');"
        "for (let i = 1; i <= 300; i++) {"
        " slider.value = i; slider.dispatchEvent(new Event('input')); }"
    )
    page.wait_for_slice(300)
    assert len([url for url in page.requested() if url.endswith(".jpg")]) < 10


def test_windows_zoom_and_the_shape_of_pixels(page):
    page.open_scan(LONG)
    box = page.find(".stage img").rect
    # 48 pixels of 2 mm by 32 of 1 mm
    assert box["width"] / box["height"] == pytest.approx(3.0, abs=0.02)
    page.press("w")
    page.wait_until(
        lambda: (
            "/soft_tissue/0140.jpg" in page.run("return document.querySelector('.stage img').src")
        )
    )
    page.find("#zoom-in").click()
    assert page.find(".stage img").rect["width"] == pytest.approx(1.4 * box["width"], abs=1)
    page.find("#fit").click()
    assert page.find(".stage img").rect == box
    page.wait_until(lambda: "&window=soft_tissue" in page.run("return location.hash"))
    page.driver.refresh()
    page.wait_for_slice(140)
    assert "/soft_tissue/" in page.run("return document.querySelector('.stage img').src")


def test_one_slice_without_lesion_spacing_or_classifier_and_a_hostile_name(page):
    page.open()
    page.find("#scans a").click()
    page.wait_for_slice(1)
    assert page.find("h1").text == HOSTILE
    assert page.texts(".notes li") == [f"Note: {MARKUP}"]
    facts = page.facts()
    assert facts["Source"] == MARKUP and facts["Voxel"] == "size unknown"
    assert page.find("#headline").text == "no lesion"
    assert "Class" not in facts and not page.driver.find_elements(By.CSS_SELECTOR, ".probabilities")
    assert page.texts(".panel h2")[0] == "No lesion in this slice"
    assert page.texts("footer dt")[1] == MARKUP and page.texts("footer dd")[1] == MARKUP
    for key in (Keys.ARROW_RIGHT, Keys.END, "n", "m", "c", "w", "+"):
        page.press(key)
    page.wait_for_slice(1)
    assert page.run("return window.hacked ?? null") is None
    page.open_scan("scan 9")
    assert page.find("#readout b").text == "Slice 2 of 3"  # the middle, where there is no lesion
    assert "no lesion" in page.find(".area").text


def test_a_finger_moves_through_slices_and_taps_on_lesions(page):
    page.open_scan(LONG, width=375, height=700)
    box = page.run("return document.querySelector('.stage .line').getBoundingClientRect().toJSON()")
    x, y = (box["left"] + box["right"]) / 2, (box["top"] + box["bottom"]) / 2
    page.touch("touchStart", x, y)
    page.touch("touchEnd")
    page.wait_until(lambda: page.find(".tip").is_displayed())
    assert page.find(".tip").text.startswith("1. GGO")
    page.touch("touchStart", 100, y)
    for step in range(1, 13):  # 60 pixels to the right
        page.touch("touchMove", 100 + 5 * step, y)
    page.touch("touchEnd")
    page.wait_until(lambda: (page.shown_slice() or 0) > 140)
    assert 142 <= page.shown_slice() <= 145


def test_a_missing_scan_is_reported(page):
    page.open("#scan=lost")
    page.wait_until(lambda: page.texts("[role=alert]"))
    assert "Cannot read lost/view/view.js" in page.find("[role=alert]").text
    assert page.run("return location.hash") == ""
    page.open("#scan=nobody")
    assert (
        page.find("[role=alert]").text
        == "This page has no scan named nobody. Choose one from the table."
    )
    assert len(page.names()) == 5


def test_the_table_of_lesions_fits_beside_the_image(page):
    page.open_scan(LONG)
    width, needed = page.run(
        "const box = document.querySelector('.lesion-table');"
        "return [box.clientWidth, box.scrollWidth]"
    )
    assert needed <= width < page.find(".stage").rect["width"]


def test_nothing_is_wider_than_a_phone(page):
    page.open(width=375, height=700)
    too_wide = "return document.documentElement.scrollWidth > innerWidth"
    assert page.names() and not page.run(too_wide)
    page.run(
        "const sort = document.getElementById('sort'); sort.value = 3;"
        "sort.dispatchEvent(new Event('change'))"
    )
    assert page.names()[0] == LONG
    page.open_scan(LONG, width=375, height=700)
    assert not page.run(too_wide)
