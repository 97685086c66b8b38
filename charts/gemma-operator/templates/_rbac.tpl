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
- apiGroups: [""]
  resources: [pods]
  verbs: [list, patch, watch]
- apiGroups: [apps]
  resources: [replicasets]
  verbs: [list, watch]
# What the scheduler, the kubelet and provisioners complain of.
- apiGroups: [""]
  resources: [events]
  verbs: [list, watch]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create]
{{- end -}}

{{/* What needs the whole cluster: which accelerators there are. */}}
{{- define "gemma.clusterRules" -}}
- apiGroups: [""]
  resources: [nodes]
  verbs: [list, watch]
{{- end -}}
