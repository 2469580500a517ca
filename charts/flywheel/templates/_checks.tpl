{{- /* What the schema cannot say: values that contradict each other, each with the sentence that a person reads. */ -}}
{{- define "flywheel.checks" -}}
{{- $account := .Values.serviceAccount -}}
{{- if and (not $account.create) (not $account.name) -}}
{{- fail "serviceAccount.create is false: name the ServiceAccount that exists in serviceAccount.name" -}}
{{- end -}}
{{- if and (eq $account.jobs (include "flywheel.serviceAccount" .)) (has .Release.Namespace .Values.namespaces) -}}
{{- fail (printf "serviceAccount.jobs %s is the operator's own account in namespace %s, and pods of rounds would have its rights: choose another name" $account.jobs .Release.Namespace) -}}
{{- end -}}
{{- range .Values.config.namespaces -}}
{{- if and $.Values.namespaces (not (has . $.Values.namespaces)) -}}
{{- fail "config.namespaces gives the operator no rights there: list them in the value `namespaces`, and leave config.namespaces out" -}}
{{- end -}}
{{- end -}}
{{- /* Here and not in the schema, which quotes what it refuses. */ -}}
{{- range $key := list "accessKey" "secretKey" -}}
{{- if not (regexMatch "^[ -~]*$" (get $.Values.store $key | trim)) -}}
{{- fail (printf "store.%s holds a line break or another character that no key has" $key) -}}
{{- end -}}
{{- end -}}
{{- if contains "@" .Values.store.endpoint -}}
{{- fail "store.endpoint holds a user or a password: they are store.accessKey and store.secretKey" -}}
{{- end -}}
{{- $names := list "FLYWHEEL_CONFIG" "POD_NAMESPACE" "POD_IP" -}}
{{- range .Values.operator.env -}}
{{- if has .name $names -}}
{{- fail (printf "operator.env: %s stands there twice, or is set by the chart: leave it out" .name) -}}
{{- end -}}
{{- if and .valueFrom (not (kindIs "invalid" .value)) -}}
{{- fail (printf "operator.env: %s has both value and valueFrom: leave one out" .name) -}}
{{- end -}}
{{- $names = append $names .name -}}
{{- end -}}
{{- $metrics := .Values.metrics -}}
{{- if and $metrics.interval (gt (include "flywheel.milliseconds" $metrics.scrapeTimeout | int64) (include "flywheel.milliseconds" $metrics.interval | int64)) -}}
{{- fail (printf "metrics.scrapeTimeout %s is longer than metrics.interval %s, which Prometheus refuses: shorten it" $metrics.scrapeTimeout $metrics.interval) -}}
{{- end -}}
{{- end }}

{{- /* Milliseconds of a duration as Prometheus writes it; empty is 0. */ -}}
{{- define "flywheel.milliseconds" -}}
{{- $units := dict "ms" 1 "s" 1000 "m" 60000 "h" 3600000 "d" 86400000 -}}
{{- $sum := 0 -}}
{{- range $part := regexFindAll "[0-9]+[a-z]+" . -1 -}}
{{- $sum = add $sum (mul (regexFind "^[0-9]+" $part | atoi) (get $units (regexFind "[a-z]+" $part))) -}}
{{- end -}}
{{- $sum -}}
{{- end }}

{{- /* Port of the operator's metrics and probes. */ -}}
{{- define "flywheel.port" -}}
{{- default 8080 .Values.config.httpPort | int -}}
{{- end }}
