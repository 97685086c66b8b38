"""The Service in front of the gateways."""

from gemma_operator.api.manifest import SERVING, Manifest, Owner, selector_labels
from gemma_operator.resources.layout import SERVICE_PORT, object_metadata, service_name


def service(owner: Owner) -> Manifest:
    """`NAME`: the OpenAI endpoint inside the cluster. The admin port stays for probes and scrapes of pods."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": object_metadata(owner, service_name(owner), SERVING),
        "spec": {
            "type": "ClusterIP",
            "selector": selector_labels(owner, SERVING),
            "ports": [
                {
                    "name": "http",
                    "port": SERVICE_PORT,
                    "targetPort": "http",
                    "protocol": "TCP",
                    "appProtocol": "http",
                }
            ],
        },
    }
