"""The page of other programs: a check, a conversion and a transfer, by clicks."""

from __future__ import annotations

import pytest
from safetensors import safe_open

from in_browser.conftest import Visitor

pytestmark = pytest.mark.browser


def test_a_lora_is_checked_converted_and_transferred(either: Visitor) -> None:
    page, out = either.page, either.shop.out
    either.open("programs")
    either.chooses("adapters", "loras/hina.safetensors")
    either.button("programs.check_run").click()
    page.locator("main h2", has_text="ComfyUI").wait_for()
    assert page.locator("main h2", has_text="diffusers").count() == 1

    name = f"other-{either.language}"
    either.switches("programs.kind", either.t("programs.convert"))
    either.switches("programs.names", either.t("programs.names_peft"))
    either.input("output").fill(name)
    either.click("programs.convert_run")
    either.ends()
    with safe_open(str(out / f"{name}.safetensors"), "pt") as made:
        assert [key for key in made.keys() if not key.startswith(("unet.", "text_encoder"))] == []  # noqa: SIM118

    either.switches("programs.kind", either.t("programs.transfer"))
    either.chooses("base", "checkpoints/baseA.safetensors")
    either.chooses("checkpoint", "checkpoints/baseB.safetensors")
    either.input("output").fill(f"moved-{either.language}")
    either.click("programs.transfer_run")
    either.ends()
    either.until(lambda: "0.9" in page.locator("main article.job").first.inner_text())
    assert not (out / f"moved-{either.language}.safetensors").exists()  # nothing moves there
    assert either.complaints == []
