"""Images and sound: whatever is sent harms its own request only."""

import base64
import io
import wave

import httpx
import httpx2
import pytest
from PIL import Image
from scripted import ScriptedUpstream

from gemma_serving.contract import MediaConfig
from gemma_serving.gateway.media import decoder
from gemma_serving.gateway.media.decoder import DecodeError, Decoder
from gemma_serving.gateway.media.fetch import Fetcher, FetchError, is_public
from serving import config, running

VISION = {"modalities": ["text", "image"]}


def encoded(image, form="PNG", **options):
    out = io.BytesIO()
    image.save(out, form, **options)
    return out.getvalue()


def data_url(data, kind="image/png"):
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def ask(door, *urls, **fields):
    parts = [{"type": "image_url", "image_url": {"url": url}} for url in urls]
    messages = [{"role": "user", "content": [{"type": "text", "text": "look"}, *parts]}]
    body = {"model": "assistant", "messages": messages, **fields}
    return httpx.post(f"{door.url}/v1/chat/completions", json=body, timeout=60)


def animated():
    frames = [Image.new("P", (8, 8), color) for color in (1, 2)]
    return encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])


def rotated():
    image = Image.new("RGB", (40, 20), "red")
    exif = image.getexif()
    exif[0x0112] = 6
    return encoded(image, "JPEG", exif=exif)


@pytest.fixture(scope="module")
def door():
    upstream = ScriptedUpstream()
    with running(upstream, config(**VISION)) as served:
        yield served, upstream


@pytest.mark.parametrize(
    ("data", "size"),
    [
        *(
            (encoded(Image.new(mode, (30, 20))), (30, 20))
            for mode in ("L", "LA", "P", "RGBA", "1", "I;16", "RGB")
        ),
        (encoded(Image.new("CMYK", (30, 20)), "JPEG"), (30, 20)),
        (encoded(Image.new("L", (224, 224)), "JPEG"), (224, 224)),
        (encoded(Image.new("RGB", (1, 1))), (16, 16)),
        (encoded(Image.new("RGB", (499, 1))), (499, 16)),
        (encoded(Image.new("RGB", (1, 5000))), (16, 3072)),
        (animated(), (16, 16)),
        (rotated(), (20, 40)),
    ],
)
def test_every_mode_and_shape_becomes_rgb_of_a_sane_size(door, data, size):
    """FO-25."""
    served, upstream = door
    assert ask(served, data_url(data)).status_code == 200
    image = Image.open(io.BytesIO(upstream.media[-1][0]))
    assert (image.mode, image.format, image.size) == ("RGB", "PNG", size)


@pytest.mark.parametrize(
    "url",
    [
        data_url(encoded(Image.new("RGB", (64, 64)))[:60]),
        data_url(b"<svg xmlns='http://www.w3.org/2000/svg'/>", "image/svg+xml"),
        data_url(encoded(Image.new("1", (12000, 12000)))),
        data_url(b""),
        "data:image/png;base64,***",
        "https://example.com/cat.png",
        "file:///etc/passwd",
    ],
)
def test_an_odd_image_is_a_400_with_its_place_and_the_next_request_works(door, url):
    """FO-25."""
    served, _ = door
    refused = ask(served, data_url(encoded(Image.new("RGB", (8, 8)))), url)
    assert refused.status_code == 400
    assert refused.json()["error"]["param"] == "messages.0.content.2"
    assert ask(served).status_code == 200


def test_several_images_keep_their_order(door):
    """FO-26."""
    served, upstream = door
    colors = [(255, 0, 0), (0, 255, 0), (0, 0, 255)]
    assert (
        ask(served, *(data_url(encoded(Image.new("RGB", (20, 20), color))) for color in colors)).status_code
        == 200
    )
    images = [Image.open(io.BytesIO(data)) for data in upstream.media[-1]]
    assert [image.getpixel((0, 0)) for image in images] == colors
    assert upstream.requests[-1].prompt.count("<start_of_image>") == 3


def test_too_many_images_are_refused_with_the_number(door):
    """FO-26."""
    served, _ = door
    refused = ask(served, *[data_url(encoded(Image.new("RGB", (8, 8))))] * 30)
    assert refused.status_code == 400
    assert "30" in refused.json()["error"]["message"]
    assert "8 are allowed" in refused.json()["error"]["message"]


def test_a_text_variant_says_who_accepts_images():
    """FO-26."""
    with running(ScriptedUpstream(), config(variant="gemma-3-1b-it")) as served:
        refused = ask(served, "data:,")
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "unsupported_modality")
    assert "gemma-3-1b-it" in refused.json()["error"]["message"]
    assert "Gemma 3 4B" in refused.json()["error"]["message"]


def test_sound_goes_to_the_engine_as_it_is_and_other_bytes_do_not():
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setparams((1, 2, 16000, 0, "NONE", ""))
        file.writeframes(b"\0\0" * 100)
    upstream = ScriptedUpstream()
    with running(upstream, config(family="gemma3n", modalities=["text", "image", "audio"])) as served:

        def say(data):
            sound = {"data": base64.b64encode(data).decode(), "format": "wav"}
            messages = [{"role": "user", "content": [{"type": "input_audio", "input_audio": sound}]}]
            return httpx.post(
                f"{served.url}/v1/chat/completions", json={"model": "assistant", "messages": messages}
            )

        assert say(out.getvalue()).status_code == 200
        assert say(b"MZ not a sound").json()["error"]["code"] == "invalid_audio"
    assert upstream.media == [(out.getvalue(),)]


async def test_a_decoder_that_is_killed_or_hangs_is_replaced(monkeypatch):
    good = encoded(Image.new("RGB", (20, 20)))
    own = Decoder(1000)
    assert await own.decode(good)
    own._process.kill()
    await own._process.wait()
    assert await own.decode(good)
    monkeypatch.setattr(decoder, "DECODE_SECONDS", 0.0)
    with pytest.raises(DecodeError, match="took more than"):
        await own.decode(good)
    monkeypatch.undo()
    assert await own.decode(good)
    await own.close()


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0",
     "224.0.0.1",
     "::1", "fe80::1", "fc00::1", "::ffff:10.0.0.1", "64:ff9b::a00:1", "2002:a00:1::", "2001:0:a00:1::",
     "::", "ff02::1"],
)  # fmt: skip
def test_addresses_inside_are_never_asked(address):
    assert not is_public(address)


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8"])
def test_public_addresses_may_be_asked(address):
    assert is_public(address)


def fetcher(names, answer, max_bytes=100):
    async def resolve(host, _):
        return names[host]

    return Fetcher(max_bytes, resolve, httpx2.MockTransport(answer))


async def test_the_judged_address_is_asked_with_the_names_own_certificate():
    asked = []

    def answer(request):
        asked.append((request.url.host, request.headers["host"], request.extensions["sni_hostname"]))
        return httpx2.Response(200, content=b"image")

    assert await fetcher({"example.org": ["8.8.8.8"]}, answer).fetch("https://example.org/a.png") == b"image"
    assert asked == [("8.8.8.8", "example.org", "example.org")]


@pytest.mark.parametrize(
    ("names", "url"),
    [
        ({"inside": ["10.0.0.1"]}, "https://inside/"),
        ({"mixed": ["8.8.8.8", "10.0.0.1"]}, "https://mixed/"),
        ({"none": []}, "https://none/"),
        ({}, "http://example.org/"),
        ({}, "ftp://example.org/"),
        ({"169.254.169.254": ["169.254.169.254"]}, "https://169.254.169.254/latest/meta-data"),
    ],
)
async def test_urls_that_lead_inside_are_refused_before_any_connection(names, url):
    def answer(_):
        raise AssertionError("a connection was made")

    with pytest.raises(FetchError):
        await fetcher(names, answer).fetch(url)


async def test_redirects_are_judged_again_and_counted():
    names = {"a": ["8.8.8.8"], "inside": ["10.0.0.1"]}

    def inside(_):
        return httpx2.Response(302, headers={"location": "https://inside/"})

    with pytest.raises(FetchError, match="public"):
        await fetcher(names, inside).fetch("https://a/")

    def around(_):
        return httpx2.Response(302, headers={"location": "https://a/"})

    with pytest.raises(FetchError, match="redirects"):
        await fetcher(names, around).fetch("https://a/")


async def test_a_body_that_is_too_large_is_cut_off():
    with pytest.raises(FetchError, match="larger"):
        await fetcher({"a": ["8.8.8.8"]}, lambda _: httpx2.Response(200, content=b"x" * 101)).fetch(
            "https://a/"
        )


def test_fetching_is_off_unless_it_was_switched_on():
    assert MediaConfig().fetch is False
