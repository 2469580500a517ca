{{- /* What is absent, or null because its lines are commented out, is as in values.yaml. Every template begins with
this. Maps whose keys are the user's (resources) are taken as they are: null removes a key from them, as everywhere. */ -}}
{{- define "flywheel.defaults" -}}
{{- include "flywheel.fill" (list .Values (.Files.Get "files/defaults.yaml" | fromYaml)) -}}
{{- end }}

{{- define "flywheel.fill" -}}
{{- $into := index . 0 -}}
{{- range $key, $default := index . 1 -}}
{{- $own := get $into $key -}}
{{- if or (not (hasKey $into $key)) (kindIs "invalid" $own) -}}
{{- $_ := set $into $key $default -}}
{{- else if and (kindIs "map" $own) (kindIs "map" $default) (ne $key "resources") -}}
{{- include "flywheel.fill" (list $own $default) -}}
{{- end -}}
{{- end -}}
{{- end }}

{{- /* A number or boolean as YAML writes it, as text; Helm holds whole numbers as floating ones. */ -}}
{{- define "flywheel.text" -}}
{{- if and (kindIs "float64" .) (eq (floor .) .) -}}{{- printf "%.0f" . -}}{{- else -}}{{- toString . -}}{{- end -}}
{{- end }}

{{- /* A map of strings, quoted on both sides; keys that are null are left out. */ -}}
{{- define "flywheel.map" -}}
{{- $lines := list -}}
{{- range $key, $value := . -}}
{{- if not (kindIs "invalid" $value) -}}
{{- $lines = append $lines (printf "%s: %s" (quote $key) (include "flywheel.text" $value | quote)) -}}
{{- end -}}
{{- end -}}
{{- join "\n" $lines -}}
{{- end }}

{{- define "flywheel.chart" -}}
{{- /* An alias of a chart that holds this one may have capitals, as values like `flywheelEU` read well. */ -}}
{{- default .Chart.Name .Values.nameOverride | lower | replace "_" "-" -}}
{{- end }}

{{- /* Name of everything: the release's, with the chart's unless that is in it; a DNS label that begins with a letter. */ -}}
{{- define "flywheel.name" -}}
{{- $chart := include "flywheel.chart" . -}}
{{- $name := .Values.fullnameOverride -}}
{{- if not $name -}}
{{- $name = contains $chart .Release.Name | ternary .Release.Name (printf "%s-%s" .Release.Name $chart) -}}
{{- end -}}
{{- $name = replace "." "-" $name -}}
{{- if not (regexMatch "^[a-z]" $name) -}}{{- $name = printf "flywheel-%s" $name -}}{{- end -}}
{{- $name | trunc 63 | trimSuffix "-" -}}
{{- end }}

{{- /* Name of cluster-scoped objects: a release of the same name in another namespace has its own. */ -}}
{{- define "flywheel.clusterName" -}}
{{- printf "%s:%s" .Release.Namespace (include "flywheel.name" .) -}}
{{- end }}

{{- /* What selects the operator's pod; never changes within a release. */ -}}
{{- define "flywheel.operatorLabels" -}}
app.kubernetes.io/name: {{ printf "%s-operator" (include "flywheel.chart" .) | trunc 63 | trimSuffix "-" | quote }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end }}

{{- /* Labels that the operator puts on every pod that it makes (flywheel_api.names). */ -}}
{{- define "flywheel.podLabels" -}}
app.kubernetes.io/managed-by: flywheel
{{- end }}

{{- /* All labels of an object. Arguments: root, labels (the user's further ones). What others select by cannot be taken over. */ -}}
{{- define "flywheel.labels" -}}
{{- $ours := include "flywheel.operatorLabels" .root | fromYaml -}}
{{- $_ := set $ours "helm.sh/chart" (printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" | trunc 63) -}}
{{- $_ := set $ours "app.kubernetes.io/version" .root.Chart.AppVersion -}}
{{- $_ := set $ours "app.kubernetes.io/managed-by" .root.Release.Service -}}
{{- $_ := set $ours "app.kubernetes.io/part-of" "flywheel" -}}
{{- $all := dict -}}
{{- range $labels := list .root.Values.commonLabels (default dict .labels) $ours -}}
{{- range $key, $value := $labels -}}{{- $_ := set $all $key $value -}}{{- end -}}
{{- end -}}
{{- include "flywheel.map" $all -}}
{{- end }}

{{- /* Annotations of an object, without their key. Arguments: root, annotations. */ -}}
{{- define "flywheel.annotations" -}}
{{- $all := dict -}}
{{- range $annotations := list .root.Values.commonAnnotations (default dict .annotations) -}}
{{- range $key, $value := $annotations -}}{{- $_ := set $all $key $value -}}{{- end -}}
{{- end -}}
{{- include "flywheel.map" $all -}}
{{- end }}

{{- /* Metadata of an object. Arguments: root, name, namespace (none for cluster-scoped ones), labels, annotations. */ -}}
{{- define "flywheel.metadata" -}}
name: {{ .name | quote }}
{{- with .namespace }}
namespace: {{ . | quote }}
{{- end }}
labels:
  {{- include "flywheel.labels" . | nindent 2 }}
{{- with include "flywheel.annotations" . }}
annotations:
  {{- . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "flywheel.serviceAccount" -}}
{{- default (include "flywheel.name" .) .Values.serviceAccount.name -}}
{{- end }}

{{- /* An image: the value given in full, else registry/name:tag, or @digest. Arguments: root, key, name. */ -}}
{{- define "flywheel.image" -}}
{{- $images := .root.Values.images -}}
{{- $full := get $images .key -}}
{{- if $full -}}
{{- $full -}}
{{- else -}}
{{- $registry := required "set images.registry to where you pushed what `make images` built, e.g. --set images.registry=registry.example.com/flywheel (or give each image in full)" $images.registry -}}
{{- $digest := get $images.digests .key -}}
{{- $version := $digest | empty | ternary (printf ":%s" (default .root.Chart.AppVersion $images.tag)) (printf "@%s" $digest) -}}
{{- printf "%s/%s%s" (trimSuffix "/" $registry) .name $version -}}
{{- end -}}
{{- end }}

{{- /* Names of the image pull Secrets, given as names or as Kubernetes writes them; a JSON list. */ -}}
{{- define "flywheel.pullSecrets" -}}
{{- $names := list -}}
{{- range .Values.images.pullSecrets -}}
{{- if kindIs "map" . -}}{{- $names = append $names .name -}}{{- else -}}{{- $names = append $names . -}}{{- end -}}
{{- end -}}
{{- toJson $names -}}
{{- end }}

{{- define "flywheel.imagePullSecrets" -}}
{{- range include "flywheel.pullSecrets" . | fromJsonArray }}
- name: {{ . | quote }}
{{- end }}
{{- end }}

{{- /* The operator's configuration: what follows from other values, then .Values.config on top. */ -}}
{{- define "flywheel.config" -}}
{{- $cpu := include "flywheel.image" (dict "root" . "key" "rayCpu" "name" "ray-cpu") -}}
{{- $config := dict
  "namespaces" .Values.namespaces
  "commonLabels" .Values.commonLabels
  "commonAnnotations" .Values.commonAnnotations
  "imagePullPolicy" .Values.images.pullPolicy
  "imagePullSecrets" (include "flywheel.pullSecrets" . | fromJsonArray)
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
{{- include "flywheel.overlay" (list $config .Values.config) -}}
{{- toYaml $config -}}
{{- end }}

{{- /* The second map laid on the first one, key by key. A null in place of a section leaves it as it is. */ -}}
{{- define "flywheel.overlay" -}}
{{- $into := index . 0 -}}
{{- range $key, $value := index . 1 -}}
{{- $own := get $into $key -}}
{{- if and (kindIs "map" $own) (kindIs "map" $value) -}}
{{- include "flywheel.overlay" (list $own $value) -}}
{{- else if not (and (kindIs "invalid" $value) (hasKey $into $key)) -}}
{{- $_ := set $into $key $value -}}
{{- end -}}
{{- end -}}
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
