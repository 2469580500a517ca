{{- define "flywheel.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/part-of: flywheel
{{ include "flywheel.operatorLabels" . }}
{{- end }}

{{- /* What selects the operator's pod; never changes within a release. */ -}}
{{- define "flywheel.operatorLabels" -}}
app.kubernetes.io/name: flywheel-operator
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- /* Labels that the operator puts on every pod that it makes (flywheel_api.names). */ -}}
{{- define "flywheel.podLabels" -}}
app.kubernetes.io/managed-by: flywheel
{{- end }}

{{- define "flywheel.name" -}}
{{- .Release.Name | trunc 53 | trimSuffix "-" -}}
{{- end }}

{{- define "flywheel.serviceAccount" -}}
{{- default (include "flywheel.name" .) .Values.serviceAccount.name -}}
{{- end }}

{{- /* An image: the value given in full, else registry/name:tag. Arguments: root, key, name. */ -}}
{{- define "flywheel.image" -}}
{{- $full := index .root.Values.images .key -}}
{{- if $full -}}
{{- $full -}}
{{- else -}}
{{- $registry := required "set images.registry to where you pushed what `make images` built, e.g. --set images.registry=registry.example.com/flywheel (or give each image in full)" .root.Values.images.registry -}}
{{- printf "%s/%s:%s" (trimSuffix "/" $registry) .name (default .root.Chart.AppVersion .root.Values.images.tag) -}}
{{- end -}}
{{- end }}

{{- /* The operator's configuration: what follows from other values, then .Values.config on top. */ -}}
{{- define "flywheel.config" -}}
{{- $cpu := include "flywheel.image" (dict "root" . "key" "rayCpu" "name" "ray-cpu") -}}
{{- $config := dict
  "namespaces" .Values.namespaces
  "imagePullPolicy" .Values.images.pullPolicy
  "imagePullSecrets" .Values.images.pullSecrets
  "job" (dict "image" (include "flywheel.image" (dict "root" . "key" "jobs" "name" "jobs")))
  "cpu" (dict "trainer" (dict "image" $cpu) "rollout" (dict "image" $cpu))
  "gpu" (dict
    "trainer" (dict "image" (include "flywheel.image" (dict "root" . "key" "trainerGpu" "name" "trainer-gpu")))
    "rollout" (dict "image" (include "flywheel.image" (dict "root" . "key" "rolloutGpu" "name" "rollout-gpu"))))
-}}
{{- /* Without a list of namespaces nobody can say where the account exists: pods then use `default`, also without a token. */ -}}
{{- if .Values.namespaces -}}
{{- $_ := set $config "serviceAccountName" .Values.serviceAccount.jobs -}}
{{- end -}}
{{- mustMergeOverwrite $config (deepCopy .Values.config) | toYaml -}}
{{- end }}

{{- /* A NetworkPolicy rule body. Arguments: peers (list), ports (list of numbers), direction ("to" or "from"). */ -}}
{{- define "flywheel.rule" -}}
{{- $rule := dict -}}
{{- if .peers -}}{{- $_ := set $rule .direction .peers -}}{{- end -}}
{{- $ports := list -}}
{{- range .ports -}}{{- $ports = append $ports (dict "protocol" "TCP" "port" (int .)) -}}{{- end -}}
{{- $_ := set $rule "ports" $ports -}}
{{- list $rule | toYaml -}}
{{- end }}
