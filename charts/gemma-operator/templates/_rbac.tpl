{{/* What the operator does in the namespaces it watches: exactly the verbs it uses, each checked by a test. */}}
{{- define "gemma.namespacedRules" -}}
- apiGroups: [serving.gemma-operator.dev]
  resources: [gemmadeployments]
  verbs: [list, watch]
- apiGroups: [serving.gemma-operator.dev]
  resources: [gemmadeployments/status]
  verbs: [patch]
# For blockOwnerDeletion where OwnerReferencesPermissionEnforcement is on (OpenShift).
- apiGroups: [serving.gemma-operator.dev]
  resources: [gemmadeployments/finalizers]
  verbs: [update]
- apiGroups: [""]
  resources: [configmaps, serviceaccounts, services, persistentvolumeclaims]
  verbs: [list, watch, create, patch, delete]
- apiGroups: [apps]
  resources: [deployments]
  verbs: [list, watch, create, patch, delete]
- apiGroups: [batch]
  resources: [jobs]
  verbs: [list, watch, create, patch, delete]
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [list, watch, create, patch, delete]
- apiGroups: [networking.k8s.io]
  resources: [networkpolicies]
  verbs: [list, watch, create, patch, delete]
- apiGroups: [autoscaling]
  resources: [horizontalpodautoscalers]
  verbs: [list, watch, create, patch, delete]
# Only where they are installed.
- apiGroups: [keda.sh]
  resources: [scaledobjects]
  verbs: [list, watch, create, patch, delete]
- apiGroups: [autoscaling.gke.io]
  resources: [autoscalingmetrics]
  verbs: [list, watch, create, patch, delete]
- apiGroups: [""]
  resources: [pods]
  verbs: [list, patch, watch]
# How far a fetch of weights is: the last line of its log.
- apiGroups: [""]
  resources: [pods/log]
  verbs: [get]
- apiGroups: [apps]
  resources: [replicasets]
  verbs: [list, watch]
# What the scheduler, the kubelet and provisioners complain of.
- apiGroups: [""]
  resources: [events]
  verbs: [list, watch]
# Told: transitions of conditions. Heard: whether the cluster autoscaler adds a node for a pod.
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, list, watch]
{{- end -}}

{{/* What needs the whole cluster: which accelerators there are. */}}
{{- define "gemma.clusterRules" -}}
- apiGroups: [""]
  resources: [nodes]
  verbs: [list, watch]
{{- end -}}
