"""The live page in a browser: a phone, keyboard, contrast, and that it looks again by itself."""

import threading
from dataclasses import replace

import pytest
from chromium import CHROMIUM, running
from report_samples import content, results_table
from test_report_in_browser import CONTRASTS, LEAST_CONTRAST, PHONE_WIDTH

from widthwise.report.live_page import LastRun, LiveContent, Tally, draw_findings, render_live
from widthwise.study.serving import serve_page

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="needs chromium"),
]


@pytest.fixture(scope="module")
def live():
    """Two of three widths, with everything that a page can hold."""
    sample = content(results_table(widths=(1.0, 2.0), seeds=3))
    last = LastRun(
        ago="0:04",
        widening_factor=2.0,
        learning_rate=2.0,
        batch_size=8,
        momentum=0.0,
        normalized_noise_scale=0.25,
        seed=2,
        accuracy=0.7654,
    )
    return LiveContent(
        title="One hidden layer, NTK parameterization",
        place="/home/somebody/a-folder-with-a-long-name/and-one-in-it/studies/one-hidden-layer",
        now="12:34:56",
        refresh=1.0,
        tallies={
            1.0: Tally(landed=24, diverged=2),
            2.0: Tally(landed=24, in_flight=1, failed=1),
            4.0: Tally(waiting=24),
        },
        state="Nobody is training. Go on with:",
        command="widthwise run /home/somebody/a-folder-with-a-long-name/studies/one-hidden-layer",
        time_left="About 1:02:03 left, besides w = 4, of which no run has landed yet.",
        findings=draw_findings(
            sample.results,
            sample.optima,
            {4.0: "no run of it has landed"},
            "the optimum moves in proportion to width.",
        ),
        last=[last, replace(last, accuracy=None)],
        cautions=["1 file of its store is damaged and not counted."],
        failures={"a worker process died": "w = 2, ε = 0.1, B = 8, m = 0, seed 1"},
    )


def test_the_page_of_a_running_study(live, tmp_path):
    looks = []

    def page(refreshes):
        looks.append(refreshes)
        now = f"look {len(looks)}"
        return True, render_live(
            replace(live, now=now, refresh=live.refresh if refreshes else None)
        )

    server = serve_page(page, 0, 0)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}/"
    with running(tmp_path / "profile") as browser:
        shown = browser.open(address, width=PHONE_WIDTH)
        # It looks again by itself.
        browser.events.clear()
        browser.wait_for("Page.loadEventFired", shown._session)
        assert len(looks) >= 2
        # The keyboard stops it.
        shown.press("Tab")
        assert shown.value("document.activeElement.textContent") == "stop"
        browser.events.clear()
        shown.call("Page.navigate", url=f"{address}?refresh=off")
        browser.wait_for("Page.loadEventFired", shown._session)
        assert shown.value("document.querySelector('meta[http-equiv=refresh]')") is None
        assert not looks[-1]
        assert shown.value("document.documentElement.scrollWidth") == PHONE_WIDTH
        contrasts = shown.value(CONTRASTS)
        assert len(contrasts) > 60
        assert [pair for pair in contrasts if pair[1] < LEAST_CONTRAST] == []
        reached = set()
        for _ in range(6):
            shown.press("Tab")
            reached.add(shown.value("document.activeElement.getAttribute('aria-label')"))
        assert {"Runs of each width", "Optimum of each width so far"} <= reached
        assert shown.value("document.querySelectorAll('svg .spot title').length") > 10
        assert shown.complaints() == []
        assert {a for a in shown.addresses() if not a.startswith(("data:", address))} == set()
        shown.value("document.querySelector('main').style.minWidth = '600px'")
        assert shown.value("document.documentElement.scrollWidth") > PHONE_WIDTH
    server.shutdown()
    server.server_close()
