"""What only a browser can tell: accessibility, reflow, the content security policy, the keyboard, dialogs."""

from decimal import Decimal

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.urls import reverse
from playwright.sync_api import Page, expect

from opsboard import pipeline
from opsboard.log.models import Membership
from opsboard.triage.models import Case
from tests.triage.test_commands import refused
from tests.triage.test_pages import blocked

pytestmark = pytest.mark.browser
TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
axe = Axe()


def violations(page: Page) -> list[str]:
    """What axe finds on the page as it stands, each with the first element that is meant."""
    found = axe.run(page, options={"runOnly": TAGS}).response["violations"]
    return [f"{one['id']}: {one['nodes'][0]['target']} {one['nodes'][0]['failureSummary']}" for one in found]


def addresses(case: Case) -> list[str]:
    """Every kind of page of the desk and the boards."""
    pipeline.correlate()
    thread = Membership.objects.values_list("thread_id", flat=True).first()
    own = reverse("exception", args=[case.number])
    return [
        "/",
        "/exceptions/",
        "/exceptions/?tab=snoozed",
        own,
        f"{own}?tab=message",
        f"{own}?tab=similar",
        f"{own}fix/",
        f"{own}fix/?as=json",
        f"{own}replay/",
        f"{own}resolve/",
        f"/exceptions/assign/?pick={case.number}",
        "/threads/",
        *([f"/threads/{thread}/"] if thread else []),
        "/kpis/",
        "/kpis/blocked_invoices/",
        "/profile/",
    ]


@pytest.mark.parametrize(("theme", "width"), [("light", 1440), ("dark", 390)])
def test_no_page_has_an_accessibility_violation(theme, width, look, finance_lead):
    refused(6)
    case = blocked(84)
    page = look(finance_lead, theme=theme, width=width)
    wrong = {}
    for address in addresses(case):
        page.goto(address)
        if found := violations(page):
            wrong[address] = found
    assert wrong == {}


@pytest.mark.parametrize("width", [320, 390, 768, 1024, 1440])
def test_no_page_scrolls_sideways(width, look, finance_lead):
    refused(6)
    case = blocked(84)
    page = look(finance_lead, width=width)
    beyond = {}
    for address in addresses(case):
        page.goto(address)
        beyond[address] = page.evaluate("document.documentElement.scrollWidth - innerWidth")
    assert {address: wide for address, wide in beyond.items() if wide > 0} == {}


def test_signing_in_has_no_violation_either(look, finance_lead):
    page = look(finance_lead)
    page.context.clear_cookies()
    page.goto("/account/login/")
    assert violations(page) == []


def test_charts_are_drawn_under_the_content_security_policy(look, finance_lead):
    refused(6)
    page = look(finance_lead)
    page.goto("/kpis/blocked_invoices/")
    page.locator("[data-figure][data-ready]").wait_for()
    expect(page.locator(".chart svg.main-svg").first).to_be_visible()


def test_the_queue_by_keyboard_alone(look, finance_lead):
    for number in (5, 6, 7):
        refused(number)
    page = look(finance_lead)
    page.goto("/exceptions/")
    for key in ("j", "x", "j", "x"):
        page.keyboard.press(key)
    expect(page.locator(".bulk [data-n]")).to_have_text("2")
    expect(page.locator(".bulk [data-sum]")).to_have_text("€13,000.00")
    page.keyboard.press("i")
    dialog = page.locator("#dialog")
    expect(dialog).to_contain_text("Take 2 exceptions")
    assert violations(page) == []
    dialog.get_by_role("button", name="Take 2").click()
    expect(page.locator(".toast")).to_contain_text("Taken 2 exceptions")
    assert set(Case.objects.filter(assignee=finance_lead).values_list("amount", flat=True)) == {
        Decimal(7000),
        Decimal(6000),
    }


def test_single_keys_never_fire_in_a_field_and_can_be_turned_off(look, finance_lead):
    refused(5)
    page = look(finance_lead)
    page.goto("/exceptions/")
    page.keyboard.press("/")
    page.keyboard.type("j?x")
    expect(page.locator("#q")).to_have_value("j?x")
    page.keyboard.press("Escape")
    page.keyboard.press("?")
    expect(page.locator("#keys")).to_be_visible()
    page.locator("#keys-on").uncheck()
    page.keyboard.press("Escape")
    page.keyboard.press("?")
    expect(page.locator("#keys")).to_be_hidden()


def test_searching_narrows_the_list_without_losing_the_place(look, finance_lead):
    refused(5)
    refused(84)
    page = look(finance_lead)
    page.goto("/exceptions/")
    page.locator("#queue-q").press_sequentially("INV-84")
    expect(page.locator("tbody tr[data-row]")).to_have_count(1)
    expect(page.locator("#queue-q")).to_be_focused()
    assert "q=INV-84" in page.url
    page.go_back()
    expect(page.locator("tbody tr[data-row]")).to_have_count(2)


def test_tabs_swap_the_card_keep_the_focus_and_stand_in_the_address(look, finance_lead):
    refused(5)
    page = look(finance_lead)
    page.goto("/exceptions/")
    page.evaluate("document.querySelector('h1').dataset.kept = 'yes'")
    page.get_by_role("link", name="Snoozed").press("Enter")
    expect(page.get_by_text("Nothing is snoozed")).to_be_visible()
    expect(page.locator("h1")).to_have_attribute("data-kept", "yes")
    expect(page.locator("#tab-snoozed")).to_be_focused()
    assert page.url.endswith("?tab=snoozed")


def test_a_fix_is_checked_while_typing_then_confirmed_with_what_changes(look, finance_lead):
    case = blocked()
    page = look(finance_lead)
    page.goto(reverse("exception", args=[case.number]))
    page.keyboard.press("f")
    page.get_by_label("Invoice date").fill("2026-10-01")
    expect(page.locator("#verdict")).to_contain_text("Valid")
    page.get_by_label("Why").fill("Agreed with the controller.")
    page.get_by_role("button", name="Keep the correction").click()
    expect(page.locator(".toast")).to_contain_text("The correction is kept")
    page.keyboard.press("r")
    dialog = page.locator("#dialog")
    expect(dialog).to_contain_text("2026-10-01")
    expect(dialog.get_by_role("button", name="Cancel")).to_be_focused()
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    assert Case.objects.get().state == "open", "looking at the confirmation sends nothing"


def test_the_menu_on_a_phone_needs_no_script(look, finance_lead):
    page = look(finance_lead, width=390)
    page.goto("/")
    expect(page.locator("#nav")).to_be_hidden()
    page.get_by_role("button", name="Menu").click()
    expect(page.locator("#nav")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("#nav")).to_be_hidden()
