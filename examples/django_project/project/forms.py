"""What a report is made of."""

from django import forms

from examples.shared.tasks import REGIONS


class ReportForm(forms.Form):
    """Which report."""

    region = forms.ChoiceField(choices=[(region, region) for region in REGIONS])
    pages = forms.IntegerField(min_value=1, max_value=200, initial=24)
