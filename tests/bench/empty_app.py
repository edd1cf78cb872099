"""The other side of the synth bench: an app with nothing in it. (A stack with nothing in it does not pass CDK's validation.)"""

from aws_cdk import App

App().synth()
