"""What may an answer's text not do to the judge?"""
