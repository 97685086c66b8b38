"""Where serving pods go: what the plan, the operator's settings and the spec ask for, together."""

from gemma_operator.api.manifest import SERVING, Manifest, Owner, selector_labels
from gemma_operator.api.v1alpha1 import GemmaDeploymentSpec
from gemma_operator.planning.plan import Plan
from gemma_operator.resources.containers import scheduling
from gemma_operator.settings import OperatorSettings

COMPUTE_CLASS_LABEL = "cloud.google.com/compute-class"
SPOT_LABEL = "cloud.google.com/gke-spot"
"""On GKE, label and taint of spot nodes; the value is `true`."""


def placement(owner: Owner, spec: GemmaDeploymentSpec, plan: Plan, settings: OperatorSettings) -> Manifest:
    """Selector, tolerations, priority and spread. The spec wins over the settings, the plan over both."""
    fields = scheduling(settings)
    selector = {**fields.get("nodeSelector", {}), **spec.hardware.node_selector, **_selector(spec, plan)}
    tolerations = [*fields.get("tolerations", []), *map(dict, plan.tolerations), *_tolerations(spec)]
    if selector:
        fields["nodeSelector"] = selector
    if tolerations:
        fields["tolerations"] = tolerations
    if spec.pod.priority_class_name is not None:
        fields["priorityClassName"] = spec.pod.priority_class_name
    fields["topologySpreadConstraints"] = [
        {
            "maxSkew": 1,
            "topologyKey": "kubernetes.io/hostname",
            "whenUnsatisfiable": "ScheduleAnyway",
            "labelSelector": {"matchLabels": selector_labels(owner, SERVING)},
            "matchLabelKeys": ["pod-template-hash"],
        }
    ]
    return fields


def _selector(spec: GemmaDeploymentSpec, plan: Plan) -> dict[str, str]:
    """A ComputeClass chooses the machines itself: a label of one machine would contradict its priorities."""
    asked = dict(plan.node_selector)
    if spec.hardware.compute_class is not None:
        asked = {COMPUTE_CLASS_LABEL: spec.hardware.compute_class}
    if spec.hardware.spot:
        asked[SPOT_LABEL] = "true"
    return asked


def _tolerations(spec: GemmaDeploymentSpec) -> list[Manifest]:
    asked = [
        toleration.model_dump(mode="json", exclude_none=True) for toleration in spec.hardware.tolerations
    ]
    if spec.hardware.spot:
        asked.append({"key": SPOT_LABEL, "operator": "Equal", "value": "true", "effect": "NoSchedule"})
    return asked
