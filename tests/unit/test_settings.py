import pytest

from gemma_operator.settings import OperatorSettings, SettingsError, parse_settings


def test_no_settings_are_all_defaults() -> None:
    assert parse_settings("") == OperatorSettings()


def test_settings_are_read_in_the_spelling_of_the_api() -> None:
    settings = parse_settings(
        """
        images: {gateway: "registry.example/gateway:1", tritonCpu: "registry.example/triton:1"}
        huggingFaceEndpoint: http://mirror.models:8000
        watchNamespaces: [team-a]
        pods:
          tolerations: [{key: dedicated, operator: Equal, value: models, effect: NoSchedule}]
          gateway: {cpu: 1, memory: 1Gi}
        """
    )
    assert settings.planning().triton_cpu_image == "registry.example/triton:1"
    assert settings.hugging_face_endpoint == "http://mirror.models:8000"
    assert settings.pods.gateway.cpu == "1"
    assert settings.pods.tolerations[0].effect == "NoSchedule"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("imagez: {}", "settings.yaml: imagez: there is no such setting"),
        ("images: {gatway: x}", r"settings.yaml: images.gatway: there is no such setting"),
        ("resyncSeconds: soon", "settings.yaml: resyncSeconds: "),
        ("resyncSeconds: 1", "settings.yaml: resyncSeconds: .*greater than or equal to 10"),
        ("huggingFaceEndpoint: huggingface.co", "settings.yaml: huggingFaceEndpoint: "),
        ("[1, 2]", "expected a mapping at the top, got list"),
        ("images: {", "settings.yaml: not YAML"),
    ],
)
def test_a_bad_setting_is_answered_with_file_field_and_reason(text: str, words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        parse_settings(text, "settings.yaml")
